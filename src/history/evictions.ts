import type { Traits } from '../catalog/traits.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Accepts, Entry } from './entry.js'
import { EvictedOffsets } from './evicted-offsets.js'

/** What can no longer be read after a position: the newest evicted offset of each lane, or 0. */
export interface Loss {
  readonly critical: Offset
  readonly droppable: Offset
}

export const nothingLost: Loss = { critical: start, droppable: start }

interface EvictedType {
  readonly type: string
  readonly traits: Traits
  readonly force: boolean
  last: Offset
}

// Further types share one offset, so that made-up type names cannot fill memory.
const evictedTypesMax = 256

/** About what the mark of a type takes beside its name. */
const markBytes = 128

/** What a history knows of the events that it no longer has. Most histories have evicted none, and have no such object. */
export class Evictions {
  /** The offset of the newest evicted event, even if a newer one of its key stays pinned. */
  to: Offset = start
  /** Events that have left its lanes. */
  events = 0
  /** Those among them that are of no worker: what workers roll up, their own histories have. */
  own = 0
  /** Of its marks. Bytes. */
  marksBytes = 0
  /** Of the droppable lane. */
  #dropped: EvictedOffsets | undefined = undefined
  /** The newest evicted offset of each type, which shows whether a filter has missed anything. */
  readonly #types = new Map<string, EvictedType>()
  #others: Loss = nothingLost
  /** The newest of these offsets. */
  #last: Offset = start

  /** An event has left its lane. */
  count({ offset, event, traits }: Entry): void {
    if (offset > this.to) this.to = offset
    this.events++
    if (event.worker === undefined) this.own++
    if (traits.critical) return
    this.#dropped ??= new EvictedOffsets()
    this.#dropped.add(offset)
  }

  /** Events evicted from the droppable lane so far. */
  get dropped(): number {
    return this.#dropped?.total ?? 0
  }

  /** @returns how many of these come after an offset; undefined if that is no longer known */
  droppedAfter(offset: Offset): number | undefined {
    return this.#dropped === undefined ? 0 : this.#dropped.after(offset)
  }

  /** The event will be missed. @returns how many bytes more the marks take */
  mark({ event: { type, offset }, traits, force }: Entry): number {
    if (offset > this.#last) this.#last = offset
    const name = force ? `${type} force` : type
    const evicted = this.#types.get(name)
    // Pinned events go later than newer ones, so the mark must not go back.
    if (evicted !== undefined) evicted.last = later(evicted.last, offset)
    else if (this.#types.size >= evictedTypesMax) this.#markOther(traits, offset)
    else {
      this.#types.set(name, { type, traits, force, last: offset })
      this.marksBytes += name.length + markBytes
      return name.length + markBytes
    }
    return 0
  }

  /**
   * All types share one mark from now on: some who have missed nothing are told of a gap.
   *
   * @returns how many bytes less the marks take
   */
  joinMarks(): number {
    for (const { traits, last } of this.#types.values()) this.#markOther(traits, last)
    this.#types.clear()
    const bytes = this.marksBytes
    this.marksBytes = 0
    return bytes
  }

  /** @returns which events after `after` a subscription with this filter can no longer get */
  lossAfter(after: Offset, filter: Accepts): Loss {
    if (this.#last <= after) return nothingLost
    let { critical, droppable } = this.#others
    for (const { type, traits, force, last } of this.#types.values()) {
      if (last <= after || !filter.wants(type, traits, force)) continue
      if (traits.critical) critical = later(critical, last)
      else droppable = later(droppable, last)
    }
    return { critical: critical > after ? critical : start, droppable: droppable > after ? droppable : start }
  }

  /** @returns the same for a fork, which has what was evicted up to an offset */
  upTo(until: Offset): Evictions {
    const upTo = (offset: Offset): Offset => (offset < until ? offset : until)
    const copy = new Evictions()
    copy.to = upTo(this.to)
    copy.events = this.events
    copy.own = this.own
    copy.marksBytes = this.marksBytes
    copy.#dropped = this.#dropped?.upTo(until)
    copy.#others = { critical: upTo(this.#others.critical), droppable: upTo(this.#others.droppable) }
    copy.#last = upTo(this.#last)
    for (const [name, evicted] of this.#types) copy.#types.set(name, { ...evicted, last: upTo(evicted.last) })
    return copy
  }

  #markOther({ critical }: Traits, offset: Offset): void {
    const others = this.#others
    this.#others = critical
      ? { ...others, critical: later(others.critical, offset) }
      : { ...others, droppable: later(others.droppable, offset) }
  }
}

function later(a: Offset, b: Offset): Offset {
  return a > b ? a : b
}
