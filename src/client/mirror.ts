import type { JsonObject, JsonValue } from '../lib/json.js'
import type { Cause, HubEvent, PatchOperation, Slices } from '../protocol/frames.js'
import { applyPatch } from './apply.js'

/** One change of one slice. */
export interface StateChange {
  readonly slice: string
  /** The new value; absent when the slice was removed. */
  readonly value?: JsonValue
  /** How the new value was made out of the one before, where the hub said it so. */
  readonly patch?: readonly PatchOperation[]
  readonly cause?: Cause
  readonly offset: number
}

/** `data` of a `state.update` event. */
interface UpdateData {
  readonly slice: string
  /** Offset of the update this one builds on. */
  readonly base?: number
  readonly patch?: readonly PatchOperation[]
  readonly value?: JsonValue
  readonly removed?: boolean
  readonly cause?: Cause
}

export type Applied =
  | { readonly kind: 'changed'; readonly change: StateChange }
  /** The snapshot has it already. */
  | { readonly kind: 'known' }
  /** It builds on a value that the mirror does not have. */
  | { readonly kind: 'misfit' }

/**
 * A copy of a topic's slices that follows its updates. Values are immutable and shared from one state to the
 * next where they did not change, so `===` tells what did.
 */
export class Mirror {
  state: JsonObject = {}
  /** The snapshot has every update up to here. */
  #snapshotAt = 0
  /** Offset of the last update of a slice since the snapshot. */
  readonly #updatedAt = new Map<string, number>()

  snapshot(slices: Slices, offset: number): void {
    this.state = slices
    this.#snapshotAt = offset
    this.#updatedAt.clear()
  }

  apply(event: HubEvent): Applied {
    const { slice, base, patch, value, removed, cause } = event.data as unknown as UpdateData
    const updatedAt = this.#updatedAt.get(slice)
    if (event.offset <= (updatedAt ?? this.#snapshotAt)) return { kind: 'known' }
    const change: { -readonly [field in keyof StateChange]: StateChange[field] } = {
      slice,
      offset: event.offset,
    }
    if (cause !== undefined) change.cause = cause
    if (removed === true) {
      const { [slice]: _, ...others } = this.state
      this.state = others
    } else {
      const next = patch === undefined ? value : this.#patched(slice, base, patch)
      if (next === undefined) return { kind: 'misfit' }
      if (patch !== undefined) change.patch = patch
      change.value = next
      this.state = { ...this.state, [slice]: next }
    }
    this.#updatedAt.set(slice, event.offset)
    return { kind: 'changed', change }
  }

  #patched(slice: string, base: number | undefined, patch: readonly PatchOperation[]): JsonValue | undefined {
    const updatedAt = this.#updatedAt.get(slice)
    const fits = updatedAt === undefined ? (base ?? 0) <= this.#snapshotAt : base === updatedAt
    if (!fits || !Object.hasOwn(this.state, slice)) return undefined
    try {
      return applyPatch(this.state[slice] as JsonValue, patch)
    } catch {
      // The caller asks for a snapshot.
      return undefined
    }
  }
}
