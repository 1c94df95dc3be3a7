// nginx with nchan, which shares its messages with other servers through Redis.
import { startEngine } from '../server/engine.js'
import { competeAsNchan } from './nchan-server.js'

await competeAsNchan(await startEngine())
