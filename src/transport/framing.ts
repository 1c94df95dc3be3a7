/** Larger chunks are not copied: they are written between their head and tail. Bytes. */
const copiedBytesMax = 64 * 1024

/** The head and tail of a chunk in its protocol. */
type Frame = (chunk: Uint8Array) => { readonly head: Buffer; readonly tail: Buffer }

/**
 * Chunks in the frames of a protocol. The last one is remembered, because a chunk is sent to thousands of peers in a row and is
 * framed once for all of them.
 */
export class Framed {
  readonly #frame: Frame
  #chunk: Uint8Array | undefined
  #pieces: readonly Uint8Array[] = []

  constructor(frame: Frame) {
    this.#frame = frame
  }

  /** @returns the bytes to write, in one piece unless they are large */
  of(chunk: Uint8Array): readonly Uint8Array[] {
    if (this.#chunk === chunk) return this.#pieces
    const { head, tail } = this.#frame(chunk)
    if (chunk.length > copiedBytesMax) return [head, chunk, tail].filter(({ length }) => length > 0)
    this.#chunk = chunk
    this.#pieces = [Buffer.concat([head, chunk, tail])]
    return this.#pieces
  }
}

const nothing = Buffer.alloc(0)
const lineEnd = Buffer.from('\r\n')

/** A chunk of a body in chunked coding: RFC 9112, section 7.1. */
export function httpChunk(chunk: Uint8Array): ReturnType<Frame> {
  return { head: Buffer.from(`${chunk.length.toString(16)}\r\n`), tail: lineEnd }
}

/** A message in one frame, not masked: RFC 6455, section 5.2. */
export function webSocketMessage(opcode: 1 | 2): Frame {
  return ({ length }) => ({ head: webSocketHead(opcode, length), tail: nothing })
}

function webSocketHead(opcode: number, length: number): Buffer {
  const fin = 0x80
  if (length < 126) return Buffer.from([fin | opcode, length])
  if (length < 65_536) return Buffer.from([fin | opcode, 126, length >> 8, length & 0xff])
  const head = Buffer.alloc(10)
  head[0] = fin | opcode
  head[1] = 127
  head.writeBigUInt64BE(BigInt(length), 2)
  return head
}
