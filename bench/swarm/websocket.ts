/** One WebSocket frame (RFC 6455, section 5.2) within a larger buffer. */
export interface FrameHead {
  readonly opcode: number
  readonly final: boolean
  /** Where the payload begins and ends; the end may lie beyond what has arrived. */
  readonly start: number
  readonly end: number
}

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** @returns the head of the frame at `at`, or nothing when not all of it has arrived. */
export function readFrameHead(buffer: Buffer, at: number, end: number): FrameHead | undefined {
  if (end - at < 2) return undefined
  const first = buffer[at] as number
  const short = (buffer[at + 1] as number) & 0x7f
  const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
  if (end < start) return undefined
  const length =
    short < 126 ? short : short === 126 ? buffer.readUInt16BE(at + 2) : Number(buffer.readBigUInt64BE(at + 2))
  return { opcode: first & 0x0f, final: (first & 0x80) !== 0, start, end: start + length }
}

/**
 * @returns a frame from a client. Its masking key is zero, which leaves the payload as it is: masking
 *   protects proxies, of which there are none here.
 */
export function clientFrame(opcode: number, payload: Buffer): Buffer {
  const length = payload.length
  const head = Buffer.alloc((length < 126 ? 2 : length < 65_536 ? 4 : 10) + 4)
  head[0] = 0x80 | opcode
  if (length < 126) head[1] = 0x80 | length
  else if (length < 65_536) {
    head[1] = 0x80 | 126
    head.writeUInt16BE(length, 2)
  } else {
    head[1] = 0x80 | 127
    head.writeBigUInt64BE(BigInt(length), 2)
  }
  return Buffer.concat([head, payload])
}

/** @returns the request that opens a WebSocket, without its closing blank line. */
export function upgradeRequest(path: string, protocol?: string): string[] {
  return [
    `GET ${path} HTTP/1.1`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Version: 13',
    ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
  ]
}
