import type { Chunk, Codec } from '../codec/codec.js'
import type { Link } from '../hub/link.js'
import type { CloseCode } from '../protocol/codes.js'

export interface MemoryLinkOptions {
  /** `write` answers `false` when more than this waits: bytes, where a frame that is no bytes counts 1. */
  readonly backpressureMax: number
  /** The peer gets a chunk. */
  receive(chunk: Chunk): void
  /** For the hub's `Connection.drained()`: a stalled peer has received everything. */
  drained(): void
  /** The link has ended. Once; without a code when the peer cut it. */
  closed(code?: CloseCode, reason?: string): void
}

/** The far end of a link in memory. */
export interface MemoryPeer {
  /** How much was written and not received; the unit is that of `backpressureMax`. */
  readonly waiting: number
  readonly open: boolean
  /** Stops receiving. */
  stall(): void
  /** Receives what waits, and everything from now on. */
  resume(): void
  /** Ends the link at once; what waits is lost. */
  cut(): void
}

/**
 * A link within the process, for tests and for in-process subscribers: `write` is the peer's `receive`
 * unless the peer has stalled.
 */
export function memoryLink(codec: Codec, options: MemoryLinkOptions): { link: Link; peer: MemoryPeer } {
  const queue: Chunk[] = []
  let waiting = 0
  let stalled = false
  let told = false
  let open = true
  let closing: { readonly code: CloseCode; readonly reason: string } | undefined

  function end(code?: CloseCode, reason?: string): void {
    open = false
    queue.length = 0
    waiting = 0
    options.closed(code, reason)
  }

  const link: Link = {
    codec,
    write(chunk) {
      if (!open || closing !== undefined) return true
      if (!stalled && queue.length === 0) {
        options.receive(chunk)
        return true
      }
      queue.push(chunk)
      waiting += sizeOf(chunk)
      if (waiting <= options.backpressureMax) return true
      told = true
      return false
    },
    cork(writes) {
      writes()
    },
    close(code, reason) {
      if (!open || closing !== undefined) return
      if (stalled) closing = { code, reason }
      else end(code, reason)
    },
  }

  const peer: MemoryPeer = {
    get waiting() {
      return waiting
    },
    get open() {
      return open
    },
    stall() {
      stalled = true
    },
    resume() {
      stalled = false
      // A receiver may stall again, or cut.
      while (!stalled) {
        const chunk = queue.shift()
        if (chunk === undefined) break
        waiting -= sizeOf(chunk)
        options.receive(chunk)
      }
      if (stalled || !open) return
      if (closing !== undefined) return end(closing.code, closing.reason)
      if (!told) return
      told = false
      options.drained()
    },
    cut() {
      if (open) end()
    },
  }

  return { link, peer }
}

function sizeOf(chunk: Chunk): number {
  return chunk instanceof Uint8Array ? chunk.length : 1
}
