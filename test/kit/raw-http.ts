import { connect, type Socket } from 'node:net'

/** A TCP client that says exactly what it is told and keeps what it hears. */
export class RawClient {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  bytes = 0
  closed = false

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (chunk) => {
      this.#chunks.push(chunk)
      this.bytes += chunk.length
    })
    // A reset is one way to be closed.
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  send(text: string): void {
    this.socket.write(text.replace(/(?<!\r)\n/g, '\r\n'))
  }

  /** Everything heard so far. */
  get data(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get text(): string {
    return this.data.toString()
  }
}

/** @returns the body of a response in chunked coding (RFC 9112, section 7.1), and whether it is complete */
export function dechunk(response: Buffer): { body: Buffer; complete: boolean } {
  const parts: Buffer[] = []
  let at = response.indexOf('\r\n\r\n') + 4
  for (;;) {
    const lineEnd = response.indexOf('\r\n', at)
    if (at < 4 || lineEnd === -1) return { body: Buffer.concat(parts), complete: false }
    const length = Number.parseInt(response.subarray(at, lineEnd).toString(), 16)
    if (length === 0) return { body: Buffer.concat(parts), complete: true }
    const from = lineEnd + 2
    parts.push(response.subarray(from, from + length))
    at = from + length + 2
  }
}
