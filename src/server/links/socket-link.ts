import type { Chunk, Codec } from '../../codec/codec.js'
import type { Link } from '../../delivery/link.js'
import { type CloseCode, closeCodes } from '../../protocol/codes.js'
import type { Socket } from '../../transport/transport.js'
import { cutFrame, decodeFrame } from './frame-sizes.js'

interface SocketLinkOptions {
  readonly binary: boolean
  /** The largest frame that the client takes; absent: any. */
  readonly receiveBytesMax: number | undefined
  /** An event is larger than that. */
  readonly onTooLarge: (reason: string) => void
}

/** The link to a WebSocket client, as the hub writes to it. */
export class SocketLink implements Link {
  readonly codec: Codec
  readonly takesParts: boolean
  readonly #socket: Socket
  readonly #binary: boolean
  /** 0: any. Not infinity, which V8 keeps in an object of its own. */
  readonly #bytesMax: number
  readonly #onTooLarge: (reason: string) => void
  /** What comes after an event that the client cannot take would leave a hole. */
  #broken = false

  constructor(socket: Socket, codec: Codec, { binary, receiveBytesMax, onTooLarge }: SocketLinkOptions) {
    this.codec = codec
    this.takesParts = receiveBytesMax !== undefined
    this.#socket = socket
    this.#binary = binary
    this.#bytesMax = receiveBytesMax ?? 0
    this.#onTooLarge = onTooLarge
  }

  get waiting(): number {
    return this.#socket.waiting
  }

  write(chunk: Chunk): boolean {
    const bytes = chunk as Uint8Array
    const isTooLong = this.#bytesMax > 0 && bytes.length > this.#bytesMax
    if (isTooLong || this.#broken) return this.#writeCut(bytes)
    return this.#socket.write(bytes, this.#binary)
  }

  cork(writes: () => void): void {
    this.#socket.cork(writes)
  }

  #writeCut(bytes: Uint8Array): boolean {
    if (this.#broken) return true
    const cut = cutFrame(this.codec, decodeFrame(bytes, this.#binary), this.#bytesMax)
    if (cut.kind === 'tooLarge') {
      this.#broken = true
      this.#onTooLarge(`the event at ${cut.offset} is larger than receiveBytesMax, ${this.#bytesMax} bytes`)
      return true
    }
    let room = true
    for (const frame of cut.frames) room = this.#socket.write(frame, this.#binary)
    return room
  }

  end(): void {
    this.#socket.close(1000, '')
  }

  close(code: CloseCode, reason: string, retryMs?: number): void {
    if (retryMs !== undefined) {
      const chunk = this.codec.control({ type: 'closing', code: closeCodes[code], retryMs })
      if (chunk !== undefined) this.write(chunk)
    }
    this.#socket.close(closeCodes[code], reason)
  }
}
