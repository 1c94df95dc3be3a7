import type { Chunk, Codec } from '../codec/codec.js'
import type { CloseCode } from '../protocol/codes.js'

/**
 * One open link of a transport.
 *
 * A closed link accepts every call and does nothing; its transport has called, or will call, `Connection.closed()`. No call
 * throws, and none calls the connection back before it returns.
 */
export interface Link {
  readonly codec: Codec
  /** The client has requested snapshots in parts. */
  readonly takesParts?: boolean
  /** The data that was written and has not left yet. Bytes. */
  readonly waiting: number
  /**
   * Writes a chunk; it always arrives unless the link breaks.
   *
   * @returns `true` when there is room for more, `false` when more than `backpressureBytesMax` bytes wait. After `false` the
   *   hub writes no events until the transport calls `Connection.drained()`.
   */
  write(chunk: Chunk): boolean
  /** Runs `writes` at once; what they write leaves in one piece. */
  cork(writes: () => void): void
  /** Ends cleanly after the written data. */
  end(): void
  /**
   * Closes after the written data, with the code if the link's protocol has codes.
   *
   * @param retryMs how long the client should wait before it reconnects
   */
  close(code: CloseCode, reason: string, retryMs?: number): void
}
