import type { Chunk, Codec } from '../codec/codec.js'
import type { CloseCode } from '../protocol/codes.js'

/**
 * What a transport offers the hub: one open link.
 *
 * A link that has died accepts every call and does nothing; its transport has told, or is about to tell,
 * `Connection.closed()`. No call throws, and none calls the connection back before it returns.
 */
export interface Link {
  readonly codec: Codec
  /** The client has asked for snapshots in parts. */
  readonly takesParts?: boolean
  /** What was written and has not left yet. Bytes. */
  readonly waiting: number
  /**
   * Takes a chunk; it always arrives unless the link dies.
   *
   * @returns `true` when there is room for more, `false` when more than `backpressureBytesMax` bytes wait.
   *   After `false` the hub writes no events until the transport calls `Connection.drained()`.
   */
  write(chunk: Chunk): boolean
  /** Runs `writes` at once; what they write leaves in one piece. */
  cork(writes: () => void): void
  /** Ends in good order after what was written: there is nothing more to say. */
  end(): void
  /**
   * Closes after what was written, telling the code where the protocol of the link can.
   *
   * @param retryMs how long the client should wait before it comes back
   */
  close(code: CloseCode, reason: string, retryMs?: number): void
}
