import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { Test } from 'tap'
import type {
  Exchange,
  Listening,
  Request,
  Service,
  Stream,
  Transport,
  TransportOptions,
  Upgrade,
} from '../../src/transport/transport.js'

export const kib = 1024
export const mib = 1024 * kib

export const transportOptions: TransportOptions = {
  frameBytesMax: 64 * kib,
  backpressureBytesMax: 256 * kib,
  overrunBytesMax: 16 * kib * kib,
  linksMax: 1_000,
  headBytesMax: 64 * kib,
}

export type MakeTransport = (service: Service, options: TransportOptions) => Transport

export const refuseSockets = (): Upgrade => ({ kind: 'refused', answer: { status: 404 } })
const noRequests = (_: Request, exchange: Exchange): void => exchange.answer({ status: 404 })

type Reading = (request: Request, exchange: Exchange) => Promise<void>

/** A service that awaits; what it throws is not swallowed. */
export function reading(request: Reading): Service['request'] {
  return (head, exchange) => void request(head, exchange)
}

/** Listens until the test ends. */
export async function serve(
  t: Test,
  make: MakeTransport,
  service: Partial<Service>,
  options: Partial<TransportOptions> = {},
): Promise<Listening> {
  const transport = make(
    { request: noRequests, upgrade: refuseSockets, ...service },
    { ...transportOptions, ...options },
  )
  const listening = await transport.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => listening.close())
  return listening
}

interface Heard {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export function ask(
  port: number,
  { method = 'GET', path = '/', headers = {}, body = '', agent = new Agent() }: Partial<Question> = {},
): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, headers, body: Buffer.concat(chunks).toString() })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

interface Question {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string | string[]>
  readonly body: string | Uint8Array
  readonly agent: Agent
}

/** Bytes that tell their place, so that a lost, repeated or misplaced one shows. */
export function numbered(bytes: number): Buffer {
  const numbers = new Uint32Array(Math.ceil(bytes / 4))
  // Seven bits to a byte, so that the text of it has one character a byte.
  for (let n = 0; n < numbers.length; n += 1) {
    numbers[n] = (n & 0x7f) | ((n & 0x3f80) << 1) | ((n & 0x1fc000) << 2) | ((n & 0xfe00000) << 3)
  }
  return Buffer.from(numbers.buffer, 0, bytes)
}

/** None of it does anything any more. */
export function useAfterwards(t: Test, stream: Stream): void {
  t.equal(stream.write(Buffer.from('late')), true)
  let ran = 0
  stream.cork(() => {
    ran += 1
    stream.write(Buffer.from('late'))
  })
  t.equal(ran, 1)
  stream.end()
  stream.cut()
}
