import type { Chunk, Codec } from '../codec/codec.js'
import type { Link } from '../delivery/link.js'
import type { Clock } from '../lib/clock.js'
import type { CloseCode } from '../protocol/codes.js'

export interface MemoryLinkOptions {
  /** Ends the turn: by it the link's owner is told that it has closed. */
  readonly clock: Clock
  /** `write` answers `false` when more than this waits: bytes, where a frame that is no bytes counts 1. */
  readonly backpressureMax: number
  /** The peer gets a chunk, within `write` unless it has stalled. */
  receive(chunk: Chunk): void
  /** For the hub's `Connection.drained()`: a stalled peer has received everything. After `write` was `false`. */
  drained(): void
  /** The link has ended, and how. Once, and never within a call of the link. */
  closed(ending: Ending): void
}

/** `cut`: by the peer. */
export type Ending =
  | { readonly kind: 'ended' | 'cut' }
  | { readonly kind: 'closed'; readonly code: CloseCode; readonly reason: string }

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

/** A link within the process, and its far end. Chunks arrive in order, each of them unless the link is cut. */
export function memoryLink(codec: Codec, options: MemoryLinkOptions): { link: Link; peer: MemoryPeer } {
  const { clock, backpressureMax } = options
  const queue: Chunk[] = []
  let waiting = 0
  let stalled = false
  /** `write` has answered `false`, and `drained` was not called since. */
  let owesDrained = false
  /** How it will end once everything is received. */
  let ending: Ending | undefined
  let open = true

  function finish(how: Ending): void {
    open = false
    queue.length = 0
    waiting = 0
    clock.defer(() => options.closed(how))
  }

  function end(how: Ending): void {
    if (!open || ending !== undefined) return
    ending = how
    if (queue.length === 0) finish(how)
  }

  const link: Link = {
    codec,
    get waiting() {
      return waiting
    },
    write(chunk) {
      if (!open || ending !== undefined) return true
      if (!stalled && queue.length === 0) {
        options.receive(chunk)
        return true
      }
      queue.push(chunk)
      waiting += sizeOf(chunk)
      if (waiting <= backpressureMax) return true
      owesDrained = true
      return false
    },
    cork: (writes) => writes(),
    end: () => end({ kind: 'ended' }),
    close: (code, reason) => end({ kind: 'closed', code, reason }),
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
      // Whoever receives may stall again, or cut.
      while (!stalled) {
        const chunk = queue.shift()
        if (chunk === undefined) break
        waiting -= sizeOf(chunk)
        options.receive(chunk)
      }
      if (!open || queue.length > 0) return
      if (ending !== undefined) return finish(ending)
      if (!owesDrained) return
      owesDrained = false
      options.drained()
    },
    cut() {
      if (open) finish({ kind: 'cut' })
    },
  }

  return { link, peer }
}

function sizeOf(chunk: Chunk): number {
  return chunk instanceof Uint8Array ? chunk.length : 1
}
