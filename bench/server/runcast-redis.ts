// One hub over a log in Redis.
import { competeAsRuncast } from './hub.js'

await competeAsRuncast('redis')
