// Three hubs over a log in Redis, as three processes: the first is published to, and clients are spread over all.
import { competeAsRuncast } from './hub.js'

await competeAsRuncast(3)
