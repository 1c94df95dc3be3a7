/**
 * Gives the hub the work that it is there for: `followers.ts <url> <topic> <type> <count>` follows on so many WebSockets,
 * says `follow` once all of them do, and `same` or what is wrong when asked: all must have got the same.
 */
import { connect, type Socket } from 'node:net'
import { until } from '../../test/kit/wait.js'
import { clientFrame, opcodes, upgradeRequest } from '../swarm/websocket.js'

/** More often than the hub asks whether anybody is there. */
const signOfLifeMs = 10_000
const perAddress = 40

const [url = '', topic = '', type = '', count = ''] = process.argv.slice(2)
const { hostname, port } = new URL(url)

class Follower {
  readonly socket: Socket
  bytes = 0

  constructor(index: number) {
    this.socket = connect(Number(port), hostname)
    const address = `X-Forwarded-For: 10.1.0.${Math.floor(index / perAddress)}`
    const request = [...upgradeRequest('/api/ws', 'runcast.v1.json'), `Host: ${hostname}`, address, '\r\n']
    this.socket.write(request.join('\r\n'))
  }

  async follow(): Promise<void> {
    await this.#hears('101 Switching')
    const subscribe = JSON.stringify({ type: 'subscribe', sub: 1, topic, types: [type] })
    this.socket.write(clientFrame(opcodes.text, Buffer.from(subscribe)))
    await this.#hears('"live"')
    this.socket.on('data', (chunk) => {
      this.bytes += chunk.length
    })
    setInterval(() => this.socket.write(clientFrame(opcodes.pong, Buffer.alloc(0))), signOfLifeMs).unref()
  }

  #hears(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      let heard = ''
      const listen = (chunk: Buffer): void => {
        heard += chunk.toString('latin1')
        if (!heard.includes(text)) return
        this.socket.off('data', listen).off('close', refuse)
        resolve()
      }
      const refuse = (): void => reject(new Error(`a follower was turned away: ${heard.slice(0, 200)}`))
      this.socket.on('data', listen).on('close', refuse)
    })
  }
}

const followers = Array.from({ length: Number(count) }, (_, index) => new Follower(index))
for (const follower of followers) await follower.follow()
process.send?.('follow')
process.once('message', () => void answer())
// The bench has gone.
process.once('disconnect', () => process.exit())

/** What was published last may be on its way. */
async function answer(): Promise<void> {
  const open = () => followers.filter(({ socket }) => socket.readyState === 'open').length
  const sums = () => new Set(followers.map(({ bytes }) => bytes)).size
  const same = () => open() === followers.length && sums() <= 1
  await until('all have got the same', same).catch(() => {})
  process.send?.(
    same() ? 'same' : `${open()} of ${count} followers are left, with ${sums()} different sums of bytes`,
  )
  process.disconnect()
}
