import { connect, type Socket } from 'node:net'
import { until } from './wait.js'

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface RawFrame {
  /** `true` unless given. */
  readonly fin?: boolean
  /** The three reserved bits as a number: 4 is RSV1. */
  readonly reserved?: number
  readonly opcode: number
  readonly payload?: Uint8Array | string
  /** `true` unless given: what a client must do. */
  readonly masked?: boolean
  /** Bits of the length field; the least that will do unless given. */
  readonly lengthBits?: 7 | 16 | 64
}

export interface HeardFrame {
  readonly fin: boolean
  readonly reserved: number
  readonly opcode: number
  readonly masked: boolean
  readonly payload: Buffer
}

/** @returns the bytes of a frame, right or wrong (RFC 6455, section 5.2) */
export function rawFrame(frame: RawFrame): Buffer {
  const { fin = true, reserved = 0, opcode, payload = '', masked = true } = frame
  const data = Buffer.from(payload as Uint8Array)
  const bits = frame.lengthBits ?? (data.length < 126 ? 7 : data.length < 65_536 ? 16 : 64)
  const head = Buffer.alloc(2 + (bits === 7 ? 0 : bits / 8))
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode
  head[1] = (masked ? 0x80 : 0) | (bits === 7 ? data.length : bits === 16 ? 126 : 127)
  if (bits === 16) head.writeUInt16BE(data.length, 2)
  if (bits === 64) head.writeBigUInt64BE(BigInt(data.length), 2)
  if (!masked) return Buffer.concat([head, data])
  const mask = Buffer.from([0x12, 0xa5, 0x00, 0xff])
  return Buffer.concat([head, mask, data.map((byte, at) => byte ^ (mask[at % 4] as number))])
}

/** @returns the payload of a close frame */
export function closePayload(code: number, reason: Uint8Array | string = ''): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(code)
  return Buffer.concat([bytes, Buffer.from(reason as Uint8Array)])
}

/** A WebSocket client that sends frames as it is told, wrong ones too, and keeps those it hears. */
export class RawWebSocket {
  readonly socket: Socket
  readonly frames: HeardFrame[] = []
  head = ''
  closed = false
  #rest: Buffer = Buffer.alloc(0)

  readonly #heard: ((frame: HeardFrame) => void) | undefined

  private constructor(port: number, heard?: (frame: HeardFrame) => void) {
    this.#heard = heard
    this.socket = connect(port, '127.0.0.1')
    this.socket.setNoDelay(true)
    this.socket.on('data', (chunk) => this.#hear(chunk))
    // A reset is one way to be closed.
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  /**
   * @param headers beside the usual ones, or in their place
   * @param heard gets each frame as it comes; then none is kept
   */
  static async open(
    port: number,
    path = '/',
    headers: Readonly<Record<string, string>> = {},
    heard?: (frame: HeardFrame) => void,
  ): Promise<RawWebSocket> {
    const client = new RawWebSocket(port, heard)
    const all = {
      Host: 'localhost',
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Version': '13',
      // The key and its answer are those of RFC 6455, section 1.3.
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    client.socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
    await until('the handshake is done', () => client.head !== '' || client.closed)
    return client
  }

  send(...frames: RawFrame[]): void {
    this.socket.write(Buffer.concat(frames.map(rawFrame)))
  }

  /** Sends a byte at a time, each in a segment of its own as far as the kernel allows. */
  async dribble(frame: RawFrame): Promise<void> {
    for (const byte of rawFrame(frame)) {
      this.socket.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #hear(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    if (this.head === '') {
      const end = this.#rest.indexOf('\r\n\r\n')
      if (end === -1) return
      this.head = this.#rest.subarray(0, end).toString()
      this.#rest = this.#rest.subarray(end + 4)
    }
    for (let frame = this.#take(); frame !== undefined; frame = this.#take()) {
      if (this.#heard === undefined) this.frames.push(frame)
      else this.#heard(frame)
    }
  }

  #take(): HeardFrame | undefined {
    const bytes = this.#rest
    if (bytes.length < 2) return undefined
    const [first, second] = bytes as unknown as [number, number]
    let length = second & 0x7f
    let at = 2
    if (length === 126) {
      if (bytes.length < 4) return undefined
      length = bytes.readUInt16BE(2)
      at = 4
    } else if (length === 127) {
      if (bytes.length < 10) return undefined
      length = Number(bytes.readBigUInt64BE(2))
      at = 10
    }
    if (bytes.length < at + length) return undefined
    this.#rest = bytes.subarray(at + length)
    return {
      fin: (first & 0x80) !== 0,
      reserved: (first >> 4) & 7,
      opcode: first & 15,
      masked: (second & 0x80) !== 0,
      payload: bytes.subarray(at, at + length),
    }
  }
}
