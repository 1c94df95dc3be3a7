import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { mib, serve } from '../conformance/transport-kit.js'
import { SimulatedClock } from '../kit/clock.js'
import { RawClient } from '../kit/raw-http.js'
import { opcodes, rawFrame } from '../kit/raw-websocket.js'
import { typescript } from '../kit/typescript.js'
import { onUws, uws } from '../kit/uws.js'
import { until } from '../kit/wait.js'
import { closingService } from './closing-service.js'

/** How `closingService` is asked to close a link. */
const ways = {
  'an answer to Connection: close': head('/answer', 'Connection: close'),
  'the end of a stream': head('/end', 'Connection: close'),
  'the cut of a stream': head('/cut'),
  'the close of a WebSocket': handshake('/close'),
  'the cut of a WebSocket': handshake('/cut'),
  'the refusal of a WebSocket': handshake('/refused'),
}

/** Closed at a frame that comes after the answer, and thus not by a timer. */
const atFrame = handshake('/frame')

function head(path: string, ...headers: string[]): string {
  return ['GET ' + path + ' HTTP/1.1', 'Host: x', ...headers, '', ''].join('\r\n')
}

function handshake(path: string): string {
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  return head(path, 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', key)
}

t.test('closing a link gives its memory back, whoever closes it, and when', onUws, async (t) => {
  if (!existsSync('/proc/self/status')) {
    t.pass('memory', { skip: 'the system does not tell how much memory a process has' })
    return
  }
  const file = fileURLToPath(new URL('closing-server.ts', import.meta.url))
  // A small young generation: of a large one some is taken and some is not, which would hide megabytes.
  const node = ['--expose-gc', '--max-semi-space-size=1', ...typescript]
  const server = fork(file, { execArgv: node })
  t.teardown(() => server.disconnect())
  async function hear<Word>(): Promise<Word> {
    const [word] = (await once(server, 'message')) as [Word]
    return word
  }
  const { port } = await hear<{ port: number }>()

  /** @returns once the server has closed as many links, some at once, in each of the ways */
  async function closeLinks(count: number): Promise<void> {
    const atOnce = 245
    const heads = [...Object.values(ways), atFrame]
    const frame = rawFrame({ opcode: opcodes.ping })
    for (let n = 0; n < count; n += atOnce) {
      await Promise.all(
        Array.from({ length: atOnce }, async (_, index) => {
          const socket = connect(port, '127.0.0.1')
          socket.on('error', () => {}).resume()
          const head = heads[index % heads.length] as string
          socket.write(head)
          if (head === atFrame) socket.once('data', () => socket.write(frame))
          await new Promise((resolve) => socket.once('close', resolve))
        }),
      )
    }
  }
  async function weigh(): Promise<number> {
    server.send('weigh')
    return (await hear<{ nativeBytes: number }>()).nativeBytes
  }

  // What was needed to begin is given back at some time, so one turn alone tells little.
  const grown: number[] = []
  let before = Number.POSITIVE_INFINITY
  for (let turn = 0; turn < 6; turn += 1) {
    await closeLinks(7_200)
    const after = await weigh()
    if (turn > 0) grown.push((after - before) / mib)
    before = after
  }
  const [, , median = Number.NaN] = grown.toSorted((a, b) => a - b)
  // Links that are lost cost some 450 bytes each: 3 MiB in each turn.
  t.ok(median < 1.4, 'memory does not grow with the links that have been', { grownMib: grown })
})

t.test('a peer may go before its link is closed: the service is told once', onUws, async (t) => {
  // Who is refused has no service that could be told.
  const { 'the refusal of a WebSocket': _, ...accepted } = ways
  for (const [way, head] of Object.entries(accepted)) {
    t.test(way, async (t) => {
      // Nothing is closed before the clock goes on.
      const clock = new SimulatedClock()
      let told = 0
      const service = closingService(
        (close) => close(),
        () => void (told += 1),
      )
      const { port } = await serve(t, (...given) => uws(...given, clock), service)
      async function ask(): Promise<RawClient> {
        const client = new RawClient(port)
        client.send(head)
        await until('its link is to be closed', () => clock.timers === 1)
        return client
      }
      const gone = await ask()
      t.equal(told, 0)
      gone.socket.destroy()
      await until('the service is told', () => told === 1)
      clock.advance(1)
      const other = await ask()
      clock.advance(1)
      await until('the link of another is closed', () => other.closed)
      t.equal(
        told,
        head === ways['an answer to Connection: close'] ? 1 : 2,
        'whoever was answered is not gone',
      )
    })
  }
})
