// Longer than 350 lines: every change of a slice is counted, weighed and bounded in the same way, which is clearest in one
// file.

import { defaultTraits } from '../catalog/traits.js'
import { Entry } from '../history/entry.js'
import { isCanonical, type JsonValue, jsonBytes } from '../lib/json.js'
import { Weight } from '../lib/weight.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Cause, PatchOperation, Slices, StateUpdate } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { canonicalValue, tooWide } from '../protocol/value.js'
import { applyMerge, applyPatch, levelsInPatch } from './apply.js'
import type { CheckedValue } from './checked-change.js'
import { compareWithin } from './compare.js'
import { StateRoom } from './room.js'

export type StateLimits = Pick<
  Limits,
  | 'compareWorkMax'
  | 'patchOperationsMax'
  | 'patchWorkMax'
  | 'patchCopiedBytesMax'
  | 'depthMax'
  | 'namesMax'
  | 'sliceBytesMax'
  | 'slicesMax'
  | 'stateBytesMax'
>

/** The counts behind the metrics of state; one object for a hub. */
export interface StateCounts {
  /** Comparisons with the current value: one per requested change. */
  comparisons: number
  /** Updates published, by form. */
  patches: number
  values: number
  removals: number
  /** Bytes of JSON text of the published patches and values. */
  patchBytes: number
  valueBytes: number
}

/** @returns whether the slice is the hub's own, which is not bounded, counted or open to producers */
export function isReserved(slice: string): boolean {
  return slice.startsWith('$')
}

/** @returns counts of zero */
export function noCounts(): StateCounts {
  return { comparisons: 0, patches: 0, values: 0, removals: 0, patchBytes: 0, valueBytes: 0 }
}

/**
 * Puts marks in the place of secrets: in a value, of which only what differs from the one before has to be looked at.
 *
 * @param isPlain whether the value is known to contain no secret of a known form
 */
export type Mask = (value: JsonValue, before: JsonValue | undefined, isPlain?: boolean) => JsonValue

/** The offset and time of a change. */
export interface Moment {
  /** The session's next offset. */
  readonly offset: Offset
  readonly time: number
  readonly cause?: Cause | undefined
  readonly mask?: Mask | undefined
  /** The update has the full value, even if a patch would be smaller. */
  readonly isWhole?: boolean
}

export type Change =
  /** `offset` is that of the slice's last update; 0 if there is no such slice. */
  | { readonly kind: 'unchanged'; readonly offset: Offset }
  /** The change uses the offset of the moment. */
  | { readonly kind: 'changed'; readonly entry: Entry }

interface Slice extends Omit<Moment, 'mask' | 'isWhole'> {
  readonly value: JsonValue
  readonly bytes: number
  /** One update with the full value, made when the first client needs it. */
  whole?: Entry
}

/** The slices of one topic. Values are held by reference and never mutated. */
export class TopicState {
  readonly #slices = new Map<string, Slice>()
  /** The last updates of removed slices, the oldest first. */
  readonly #removals = new Map<string, Entry>()
  /** Removals up to here are forgotten: a client with an earlier position needs a snapshot. */
  forgotten = start
  /** The offset of the newest update of any slice. */
  offset = start
  #bytes = 0
  readonly #limits: StateLimits
  readonly #counts: StateCounts
  readonly #uncounted = noCounts()
  readonly #worker: string | undefined
  #room: StateRoom

  /**
   * @param worker the worker of the topic; absent for a session's own
   * @param room the memory of the session's state
   */
  constructor(limits: StateLimits, counts: StateCounts, worker?: string, room = new StateRoom(new Weight())) {
    this.#room = room
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

  /** @returns the offset of the newest change of the slice, its removal included; 0 when none is known */
  changedAt(slice: string): Offset {
    return this.#slices.get(slice)?.offset ?? this.#removals.get(slice)?.offset ?? this.forgotten
  }

  /**
   * @param checked the same value, if it has been checked
   * @throws ProtocolError when the value is out of bounds; then nothing has changed. The same holds for the methods below
   */
  set(
    slice: string,
    given: JsonValue,
    { mask, isWhole = false, ...moment }: Moment,
    checked?: CheckedValue,
  ): Change {
    const held = this.#slices.get(slice)
    const counts = this.#countsOf(slice)
    counts.comparisons++
    // The hub's own values are canonical.
    const isChecked = isReserved(slice) || checked !== undefined
    const canonical = isChecked ? given : this.#canonical(given, 'value', held?.value)
    const value = mask === undefined ? canonical : mask(canonical, held?.value, checked?.isPlain)
    const known = value === given ? checked : undefined
    if (held === undefined) return this.#create(slice, value, moment, known?.bytes)

    const { compareWorkMax } = this.#limits
    const found =
      known === undefined
        ? compareWithin(held.value, value, compareWorkMax)
        : known.compareWith(held.value, compareWorkMax)
    if (found === undefined) {
      const bytes = known?.bytes ?? jsonBytes(value)
      this.#keep(slice, { ...moment, value, bytes }, held.bytes)
      return this.#changed(this.#valueUpdate(slice, held.offset, value, bytes, moment), bytes, moment)
    }
    const { patch, growthBytes } = found
    if (patch.length === 0) return { kind: 'unchanged', offset: held.offset }
    const bytes = held.bytes + growthBytes
    this.#keep(slice, { ...moment, value, bytes }, held.bytes)
    // The patch of a value that is replaced as a whole contains it, so it is larger.
    const patchBytes = jsonBytes(patch)
    if (!isWhole && patchBytes < bytes) {
      counts.patches++
      counts.patchBytes += patchBytes
      return this.#changed({ slice, base: held.offset, patch, ...because(moment) }, patchBytes, moment)
    }
    return this.#changed(this.#valueUpdate(slice, held.offset, value, bytes, moment), bytes, moment)
  }

  /** @throws ProtocolError `notFound` without the slice, `conflict` naming the operation that does not apply */
  patch(slice: string, patch: readonly PatchOperation[], moment: Moment): Change {
    const held = this.#slices.get(slice)
    if (held === undefined) {
      throw new ProtocolError('notFound', `there is no slice ${slice} to patch; set it first`)
    }
    if (!Array.isArray(patch)) {
      throw new ProtocolError('badFrame', `patch: expected a list of operations, got ${quote(patch)}`)
    }
    const operations = this.#canonical(patch, 'patch', undefined, levelsInPatch) as readonly PatchOperation[]
    return this.set(slice, applyPatch(held.value, operations, this.#limits), moment)
  }

  /** Merges into the slice (RFC 7386), or creates it. */
  merge(slice: string, merge: JsonValue, moment: Moment): Change {
    const canonical = this.#canonical(merge, 'merge')
    return this.set(slice, applyMerge(this.#slices.get(slice)?.value, canonical), moment)
  }

  remove(slice: string, moment: Moment): Change {
    const held = this.#slices.get(slice)
    if (held === undefined) return { kind: 'unchanged', offset: start }
    this.#slices.delete(slice)
    this.#weigh(-held.bytes)
    this.#counts.removals++
    const change = this.#changed({ slice, base: held.offset, removed: true, ...because(moment) }, 0, moment)
    this.#remember(slice, moment)
    return change
  }

  /**
   * @param make makes a change of the slice, which is undone afterwards
   * @returns the change that `make` made
   * @throws ProtocolError as `make` does
   */
  draft(slice: string, make: (state: TopicState) => Change): Change {
    const held = this.#slices.get(slice)
    const removal = this.#removals.get(slice)
    const { offset } = this
    try {
      return make(this)
    } finally {
      this.offset = offset
      this.#weigh((held?.bytes ?? 0) - (this.#slices.get(slice)?.bytes ?? 0))
      if (held === undefined) this.#slices.delete(slice)
      else this.#slices.set(slice, held)
      if (removal === undefined) this.#removals.delete(slice)
      else this.#removals.set(slice, removal)
    }
  }

  /**
   * Applies a change that was drafted, here or in another hub, and is within bounds.
   *
   * @returns undefined if the slice is no longer at the update's base; then nothing has changed
   */
  follow(update: StateUpdate, moment: Moment): Entry | undefined {
    const { slice, base } = update
    const held = this.#slices.get(slice)
    if ((held?.offset ?? start) !== base) return undefined
    this.offset = moment.offset
    if ('removed' in update) {
      this.#slices.delete(slice)
      this.#weigh(-(held?.bytes ?? 0))
      this.#remember(slice, moment)
      return this.#entry(update, 0, moment)
    }
    const value = 'patch' in update ? applyPatch(held?.value ?? null, update.patch) : update.value
    const bytes = jsonBytes(value)
    this.#weigh(bytes - (held?.bytes ?? 0))
    this.#slices.set(slice, { ...moment, value, bytes })
    this.#removals.delete(slice)
    return this.#entry(update, 'patch' in update ? jsonBytes(update.patch) : bytes, moment)
  }

  /** The slices of producers, as arguments of `restore`. */
  *kept(): Generator<readonly [slice: string, value: JsonValue, offset: Offset]> {
    for (const [name, { value, offset }] of this.#slices) {
      if (!isReserved(name)) yield [name, value, offset]
    }
  }

  /**
   * Puts another value in the place of a slice's, at the same offset: nobody is told. For sessions that have ended.
   *
   * @param change what is done to the value, and to the causes of all slices
   */
  replace(slice: string, change: <V extends JsonValue>(value: V) => V): void {
    const held = this.#slices.get(slice)
    if (held === undefined) return
    const value = change(held.value)
    if (value === held.value) return
    const bytes = jsonBytes(value)
    this.#slices.set(slice, withoutWhole({ ...held, value, bytes }))
    this.#weigh(bytes - held.bytes)
  }

  /** Puts other payloads in the place of those of the causes. */
  replaceCauses(change: <V extends JsonValue>(value: V) => V): void {
    for (const [name, slice] of this.#slices) {
      const cause = changedCause(slice.cause, change)
      if (cause !== slice.cause) this.#slices.set(name, withoutWhole({ ...slice, cause }))
    }
    for (const entry of this.#removals.values()) {
      const data = entry.event.data as StateUpdate
      const cause = changedCause(data.cause, change)
      if (cause !== data.cause) entry.replace({ ...entry.event, data: { ...data, cause } as JsonValue })
    }
  }

  /** Its topic leaves memory: its slices no longer count. */
  release(): void {
    this.#room.add(-this.#bytes)
    this.#room = new StateRoom(new Weight())
  }

  /** Restores a stored slice. */
  restore(slice: string, value: JsonValue, moment: Moment): void {
    const bytes = jsonBytes(value)
    this.#slices.set(slice, { ...moment, value, bytes })
    this.#weigh(bytes)
    if (moment.offset > this.offset) this.offset = moment.offset
  }

  /**
   * @returns updates that transform any state at `after`, if that is not before `forgotten`, into the current one: one for each
   *   changed slice, in order of offset
   */
  since(after: Offset, accepts: (slice: string) => boolean): readonly Entry[] {
    if (after >= this.offset) return []
    const updates: Entry[] = []
    for (const [name, slice] of this.#slices) {
      if (slice.offset > after && accepts(name)) updates.push(this.#wholeOf(name, slice))
    }
    for (const [name, removal] of this.#removals) {
      if (removal.offset > after && accepts(name)) updates.push(removal)
    }
    return updates.sort((a, b) => a.offset - b.offset)
  }

  /** @returns the current values of the slices that have not changed after `until` */
  snapshot(accepts: (slice: string) => boolean, until = Number.POSITIVE_INFINITY): Slices {
    const slices: Record<string, JsonValue> = {}
    for (const [name, { value, offset }] of this.#slices) {
      if (offset <= until && accepts(name)) slices[name] = value
    }
    return slices
  }

  /** @param around additional levels around the value */
  #canonical(value: unknown, field: string, known?: JsonValue, around = 0): JsonValue {
    const { depthMax, namesMax, sliceBytesMax } = this.#limits
    if (isCanonical(value as JsonValue, depthMax + around, known, namesMax)) return value as JsonValue
    const made = canonicalValue(value, { field, depthMax: depthMax + around, bytesMax: sliceBytesMax })
    if (!isCanonical(made, Number.POSITIVE_INFINITY, known, namesMax)) throw tooWide(field, namesMax)
    return made
  }

  #create(slice: string, value: JsonValue, moment: Moment, known?: number): Change {
    if (this.#slices.size >= this.#limits.slicesMax && !isReserved(slice)) {
      throw new ProtocolError(
        'conflict',
        `slice limit of a topic reached (slicesMax = ${this.#limits.slicesMax}); remove some`,
      )
    }
    const bytes = known ?? jsonBytes(value)
    this.#keep(slice, { ...moment, value, bytes }, 0)
    this.#removals.delete(slice)
    return this.#changed(this.#valueUpdate(slice, start, value, bytes, moment), bytes, moment)
  }

  #keep(name: string, slice: Slice, bytesBefore: number): void {
    const { sliceBytesMax, stateBytesMax } = this.#limits
    if (slice.bytes > sliceBytesMax && !isReserved(name)) {
      throw new ProtocolError(
        'frameTooLarge',
        `expected at most ${sliceBytesMax} bytes in a slice, got ${slice.bytes}`,
      )
    }
    const bytes = this.#bytes + slice.bytes - bytesBefore
    if (bytes > stateBytesMax && !isReserved(name)) {
      throw new ProtocolError(
        'conflict',
        `expected at most ${stateBytesMax} bytes in all slices, got ${bytes}`,
      )
    }
    if (!isReserved(name)) this.#room.expect(bytes - this.#bytes)
    this.#weigh(bytes - this.#bytes)
    this.#slices.set(name, slice)
  }

  #weigh(bytes: number): void {
    this.#bytes += bytes
    this.#room.add(bytes)
  }

  #valueUpdate(slice: string, base: Offset, value: JsonValue, bytes: number, moment: Moment): StateUpdate {
    const counts = this.#countsOf(slice)
    counts.values++
    counts.valueBytes += bytes
    return { slice, base, value, ...because(moment) }
  }

  #countsOf(slice: string): StateCounts {
    return isReserved(slice) ? this.#uncounted : this.#counts
  }

  #changed(update: StateUpdate, bytes: number, moment: Moment): Change {
    this.offset = moment.offset
    return { kind: 'changed', entry: this.#entry(update, bytes, moment) }
  }

  #entry(data: StateUpdate, bytes: number, { offset, time }: Moment): Entry {
    const worker = this.#worker === undefined ? undefined : { worker: this.#worker }
    const event = { offset, type: 'state.update', time, ...worker, data }
    return new Entry(event, defaultTraits, bytes + overheadBytes, { slice: data.slice })
  }

  #wholeOf(name: string, slice: Slice): Entry {
    slice.whole ??= this.#entry(
      { slice: name, base: start, value: slice.value, ...because(slice) },
      slice.bytes,
      slice,
    )
    return slice.whole
  }

  #remember(slice: string, moment: Moment): void {
    this.#removals.set(
      slice,
      this.#entry({ slice, base: start, removed: true, ...because(moment) }, 0, moment),
    )
    if (this.#removals.size <= this.#limits.slicesMax) return
    for (const [oldest, { offset }] of this.#removals) {
      this.#removals.delete(oldest)
      this.forgotten = offset
      return
    }
  }
}

/** About the size of an update without its patch or value. */
const overheadBytes = 128

function because({ cause }: Moment): { readonly cause?: Cause } {
  return cause === undefined ? {} : { cause }
}

function changedCause(
  cause: Cause | undefined,
  change: <V extends JsonValue>(value: V) => V,
): Cause | undefined {
  if (cause?.payload === undefined) return cause
  const payload = change(cause.payload)
  return payload === cause.payload ? cause : { ...cause, payload }
}

function withoutWhole({ whole: _, ...slice }: Slice): Slice {
  return slice
}
