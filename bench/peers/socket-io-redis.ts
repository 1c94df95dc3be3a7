// Socket.IO with rooms, and its adapter that tells other servers of each broadcast through a stream in Redis.
import { startEngine } from '../server/engine.js'
import { load } from './load.js'
import { competeAsSocketIo } from './socket-io-server.js'

const { createAdapter } = (await load('@socket.io/redis-streams-adapter')) as {
  createAdapter(client: unknown): unknown
}
const { Redis } = (await load('ioredis')) as { Redis: new (url: string) => unknown }
const { pid, url } = await startEngine()

competeAsSocketIo({ adapter: createAdapter(new Redis(url)), engine: pid })
