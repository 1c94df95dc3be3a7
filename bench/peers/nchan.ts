// nginx with nchan, which keeps messages in its own memory.
import { competeAsNchan } from './nchan-server.js'

await competeAsNchan()
