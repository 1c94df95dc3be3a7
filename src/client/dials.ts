import type { Random } from '../lib/random.js'
import type { ConnectOptions } from './connect-options.js'
import { dialShared, dialSse } from './dial.js'
import { dialWebSocket } from './dial-websocket.js'
import type { Dial } from './link.js'
import { type ClientClock, globalSocketClass } from './surroundings.js'

/**
 * @returns the ways to connect, the preferred one first
 * @throws TypeError when `transport` is `websocket` and there is no WebSocket
 */
export function dialsOf(options: ConnectOptions, base: string, clock: ClientClock, random: Random): Dial[] {
  const { transport = 'auto', codec = 'msgpack', tabs } = options
  const Socket = options.WebSocket ?? globalSocketClass()
  if (transport === 'websocket' && Socket === undefined) {
    throw new TypeError(
      'connect: there is no global WebSocket; pass one, for instance of the package ws, as { WebSocket }',
    )
  }
  const dials: Dial[] = []
  if (transport !== 'sse' && Socket !== undefined) dials.push(dialWebSocket(Socket, codec))
  if (transport !== 'websocket') dials.push(dialSse(options.fetch ?? fetch, clock))
  if (!tabs) return dials
  return dials.map((dial) => dialShared(dial, { name: `runcast ${base} ${tabs}`, clock, random }))
}
