import type { Chunk, Codec } from '../codec/codec.js'
import type { Link } from '../delivery/link.js'
import type { Clock } from '../lib/clock.js'
import type { CloseCode } from '../protocol/codes.js'

export interface MemoryLinkOptions {
  /** Defers the call of `closed` to the end of the turn. */
  readonly clock: Clock
  /** `write` returns `false` when more than this waits. Bytes; a frame that is not bytes counts 1. */
  readonly backpressureMax: number
  /** The peer receives a chunk; called within `write` unless the peer has stalled. */
  receive(chunk: Chunk): void
  /** For the hub's `Connection.drained()`: a stalled peer has received everything. Only after `write` has returned `false`. */
  drained(): void
  /** The link has ended. Called once, and never within a call of the link. */
  closed(ending: Ending): void
}

/** `cut`: by the peer. */
export type Ending =
  | { readonly kind: 'ended' | 'cut' }
  | { readonly kind: 'closed'; readonly code: CloseCode; readonly reason: string }

/** The far end of a link in memory. */
export interface MemoryPeer {
  /** How much was written and not received, in the unit of `backpressureMax`. */
  readonly waiting: number
  readonly open: boolean
  /** Stops receiving. */
  stall(): void
  /** Receives the waiting chunks, and everything from now on. */
  resume(): void
  /** Ends the link at once; waiting chunks are lost. */
  cut(): void
}

/** A link within the process, and its far end. All chunks arrive in order, unless the link is cut. */
export function memoryLink(codec: Codec, options: MemoryLinkOptions): { link: Link; peer: MemoryPeer } {
  const { clock, backpressureMax } = options
  const queue: Chunk[] = []
  let waiting = 0
  let stalled = false
  /** `write` has returned `false`, and `drained` has not been called since. */
  let owesDrained = false
  /** How it will end when everything has been received. */
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
      // The receiver may stall again, or cut the link.
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
