import { Variants } from '../codec/variants.js'
import { deeperThan, type JsonValue, jsonBytes } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Cause, HubEvent, PatchOperation, Slices, StateUpdate } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { applyMerge, applyPatch } from './apply.js'
import { compare } from './compare.js'

export type StateLimits = Pick<
  Limits,
  'patchOperationsMax' | 'patchWorkMax' | 'depthMax' | 'sliceBytesMax' | 'slicesMax' | 'stateBytesMax'
>

/** What the metrics of state are made of; one for a whole hub. */
export interface StateCounts {
  /** Values compared with the current one: once per change that was asked for. */
  comparisons: number
  /** Updates published, by form. */
  patches: number
  values: number
  removals: number
  /** JSON text of the patches, and of the values, that were published. */
  patchBytes: number
  valueBytes: number
}

/** @returns counts to begin with */
export function noCounts(): StateCounts {
  return { comparisons: 0, patches: 0, values: 0, removals: 0, patchBytes: 0, valueBytes: 0 }
}

/** Where and when a change takes place, if it is one. */
export interface Moment {
  /** The session's next offset. */
  readonly offset: Offset
  readonly time: number
  readonly cause?: Cause | undefined
}

export type Change =
  /** `offset` of the slice's last update; 0 when there is no such slice. */
  | { readonly kind: 'unchanged'; readonly offset: Offset }
  /** The offset of the moment is taken. */
  | { readonly kind: 'changed'; readonly event: HubEvent }

/** What is due to a client that has everything up to a position. */
export type StateSince =
  /** At most one update for each slice, in order of offset. */
  | { readonly kind: 'updates'; readonly updates: readonly Variants[] }
  /** Slices were removed so long ago that their names are forgotten: only a snapshot helps. */
  | { readonly kind: 'forgotten' }

interface Slice extends Moment {
  readonly value: JsonValue
  readonly bytes: number
  /** The update that stands for all so far, made when the first client needs it. */
  whole?: Variants
}

/** The slices of one topic. Values are held by reference and never changed. */
export class TopicState {
  readonly #slices = new Map<string, Slice>()
  /** The last update of slices that are gone, the oldest first. */
  readonly #removals = new Map<string, Variants>()
  /** Of removals up to here nothing is known any more. */
  #forgotten = start
  #bytes = 0
  readonly #limits: StateLimits
  readonly #counts: StateCounts
  readonly #worker: string | undefined

  /** @param worker whose topic it is; absent for a session's own */
  constructor(limits: StateLimits, counts: StateCounts, worker?: string) {
    this.#limits = limits
    this.#counts = counts
    this.#worker = worker
  }

  /** Number of slices. */
  get size(): number {
    return this.#slices.size
  }

  /** Length of the JSON text of all values. Bytes. */
  get bytes(): number {
    return this.#bytes
  }

  get(slice: string): JsonValue | undefined {
    return this.#slices.get(slice)?.value
  }

  /** @returns the offset of the slice's last update, 0 when there is no such slice */
  offsetOf(slice: string): Offset {
    return this.#slices.get(slice)?.offset ?? start
  }

  /** @throws ProtocolError when the value is out of bounds; nothing has changed then. So in what follows. */
  set(slice: string, value: JsonValue, moment: Moment): Change {
    const held = this.#slices.get(slice)
    this.#counts.comparisons++
    if (held === undefined) return this.#create(slice, value, moment)

    const { patch, growthBytes, tooDeep } = compare(held.value, value, this.#limits.depthMax)
    if (patch.length === 0) return { kind: 'unchanged', offset: held.offset }
    if (tooDeep) this.#refuseDepth()
    const bytes = held.bytes + growthBytes
    this.#keep(slice, { ...moment, value, bytes }, held.bytes)
    if (sameKind(held.value, value)) {
      const patchBytes = jsonBytes(patch)
      if (patchBytes < bytes) {
        this.#counts.patches++
        this.#counts.patchBytes += patchBytes
        return this.#changed({ slice, base: held.offset, patch, ...because(moment) }, moment)
      }
    }
    return this.#changed(this.#valueUpdate(slice, held.offset, value, bytes, moment), moment)
  }

  /** @throws ProtocolError `notFound` without the slice, `conflict` naming the operation that does not apply */
  patch(slice: string, patch: readonly PatchOperation[], moment: Moment): Change {
    const held = this.#slices.get(slice)
    if (held === undefined) {
      throw new ProtocolError('notFound', `there is no slice ${slice} to patch: set it first`)
    }
    return this.set(slice, applyPatch(held.value, patch, this.#limits), moment)
  }

  /** Merges into the slice (RFC 7386), or into nothing where there is none. */
  merge(slice: string, merge: JsonValue, moment: Moment): Change {
    return this.set(slice, applyMerge(this.#slices.get(slice)?.value, merge), moment)
  }

  remove(slice: string, moment: Moment): Change {
    const held = this.#slices.get(slice)
    if (held === undefined) return { kind: 'unchanged', offset: start }
    this.#slices.delete(slice)
    this.#bytes -= held.bytes
    this.#counts.removals++
    const change = this.#changed({ slice, base: held.offset, removed: true, ...because(moment) }, moment)
    this.#remember(slice, moment)
    return change
  }

  /** Updates that lead from any state at `after` to the current one, whatever happened in between. */
  since(after: Offset, accepts: (slice: string) => boolean): StateSince {
    if (after < this.#forgotten) return { kind: 'forgotten' }
    const updates: Variants[] = []
    for (const [name, slice] of this.#slices) {
      if (slice.offset > after && accepts(name)) updates.push(this.#wholeOf(name, slice))
    }
    for (const [name, removal] of this.#removals) {
      if (removal.event.offset > after && accepts(name)) updates.push(removal)
    }
    updates.sort((a, b) => a.event.offset - b.event.offset)
    return { kind: 'updates', updates }
  }

  /** @returns the current values */
  snapshot(accepts: (slice: string) => boolean): Slices {
    const slices: Record<string, JsonValue> = {}
    for (const [name, { value }] of this.#slices) if (accepts(name)) slices[name] = value
    return slices
  }

  #create(slice: string, value: JsonValue, moment: Moment): Change {
    if (this.#slices.size >= this.#limits.slicesMax) {
      throw new ProtocolError('conflict', `expected at most ${this.#limits.slicesMax} slices in a topic`)
    }
    if (deeperThan(this.#limits.depthMax, value)) this.#refuseDepth()
    const bytes = jsonBytes(value)
    this.#keep(slice, { ...moment, value, bytes }, 0)
    this.#removals.delete(slice)
    return this.#changed(this.#valueUpdate(slice, start, value, bytes, moment), moment)
  }

  #keep(name: string, slice: Slice, bytesBefore: number): void {
    const { sliceBytesMax, stateBytesMax } = this.#limits
    if (slice.bytes > sliceBytesMax) {
      throw new ProtocolError(
        'frameTooLarge',
        `expected at most ${sliceBytesMax} bytes in a slice, got ${slice.bytes}`,
      )
    }
    const bytes = this.#bytes + slice.bytes - bytesBefore
    if (bytes > stateBytesMax) {
      throw new ProtocolError(
        'conflict',
        `expected at most ${stateBytesMax} bytes in all slices, got ${bytes}`,
      )
    }
    this.#bytes = bytes
    this.#slices.set(name, slice)
  }

  #refuseDepth(): never {
    throw new ProtocolError(
      'badFrame',
      `expected a value nested at most ${this.#limits.depthMax} levels deep`,
    )
  }

  #valueUpdate(slice: string, base: Offset, value: JsonValue, bytes: number, moment: Moment): StateUpdate {
    this.#counts.values++
    this.#counts.valueBytes += bytes
    return { slice, base, value, ...because(moment) }
  }

  #changed(update: StateUpdate, moment: Moment): Change {
    return { kind: 'changed', event: this.#event(update, moment) }
  }

  #event(data: StateUpdate, { offset, time }: Moment): HubEvent {
    return {
      offset,
      type: 'state.update',
      time,
      ...(this.#worker !== undefined && { worker: this.#worker }),
      data,
    }
  }

  #wholeOf(name: string, slice: Slice): Variants {
    slice.whole ??= new Variants(
      this.#event({ slice: name, base: start, value: slice.value, ...because(slice) }, slice),
    )
    return slice.whole
  }

  #remember(slice: string, moment: Moment): void {
    const event = this.#event({ slice, base: start, removed: true, ...because(moment) }, moment)
    this.#removals.set(slice, new Variants(event))
    if (this.#removals.size <= this.#limits.slicesMax) return
    for (const [oldest, { event }] of this.#removals) {
      this.#removals.delete(oldest)
      this.#forgotten = event.offset
      return
    }
  }
}

function because({ cause }: Moment): { readonly cause?: Cause } {
  return cause === undefined ? {} : { cause }
}

/** Only then may a change of the whole be said as a patch. */
function sameKind(before: JsonValue, after: JsonValue): boolean {
  return (
    before !== null &&
    after !== null &&
    typeof before === typeof after &&
    Array.isArray(before) === Array.isArray(after)
  )
}
