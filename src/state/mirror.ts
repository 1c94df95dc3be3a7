import { isObject, type JsonValue } from '../lib/json.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { HubEvent, Slices, StateUpdate } from '../protocol/frames.js'
import { followPatch } from './follow-patch.js'

export type Mirroring =
  | { readonly kind: 'applied'; readonly mirror: StateMirror }
  /** An update was missed, so a fresh snapshot is needed. */
  | { readonly kind: 'mismatch'; readonly slice: string; readonly reason: string }

/** The last update of a slice; for a slice of a snapshot, an upper bound of it. */
interface Known {
  readonly offset: Offset
  readonly exact: boolean
}

/**
 * A client's copy of a topic's state. Immutable: every update makes a new mirror, which shares the unchanged parts. It can be
 * behind the hub, but never differ from it unnoticed.
 */
export class StateMirror {
  /**
   * Values by name. In the topic `sessions/{s}/**` a worker's slice is named `workers/{w}/{slice}`.
   */
  readonly slices: Slices
  /** The mirror began with a snapshot that includes everything up to here. */
  readonly #snapshot: Offset
  readonly #known: ReadonlyMap<string, Known>

  private constructor(slices: Slices, snapshot: Offset, known: ReadonlyMap<string, Known>) {
    this.slices = slices
    this.#snapshot = snapshot
    this.#known = known
  }

  /** @param offset of the frame that brought the snapshot */
  static of(slices: Slices, offset: Offset): StateMirror {
    const known = Object.keys(slices).map((name): [string, Known] => [name, { offset, exact: false }])
    return new StateMirror(slices, offset, new Map(known))
  }

  /** Applies one event `state.update`; one that was applied before changes nothing. */
  apply(event: Pick<HubEvent, 'offset' | 'worker' | 'data'>, all = false): Mirroring {
    const update = readUpdate(event.data)
    if (update === undefined) {
      return {
        kind: 'mismatch',
        slice: '',
        reason: 'not a state.update { slice, base, patch|value|removed }',
      }
    }
    const name = all && event.worker !== undefined ? `workers/${event.worker}/${update.slice}` : update.slice
    const known = this.#known.get(name)
    if (event.offset <= (known?.offset ?? this.#snapshot)) return { kind: 'applied', mirror: this }
    if ('removed' in update) return this.#without(name, event.offset)
    if ('value' in update) return this.#with(name, update.value, event.offset)

    const value = Object.hasOwn(this.slices, name) ? this.slices[name] : undefined
    if (known === undefined || value === undefined) {
      return { kind: 'mismatch', slice: name, reason: 'a patch for a slice that is not known' }
    }
    if (known.exact ? update.base !== known.offset : update.base > known.offset) {
      return {
        kind: 'mismatch',
        slice: name,
        reason: `a patch for the value at ${update.base}, where the one at ${known.offset} is known`,
      }
    }
    try {
      return this.#with(name, followPatch(value, update.patch), event.offset)
    } catch (error) {
      return { kind: 'mismatch', slice: name, reason: String(error) }
    }
  }

  #with(name: string, value: JsonValue, offset: Offset): Mirroring {
    const known = new Map(this.#known).set(name, { offset, exact: true })
    return {
      kind: 'applied',
      mirror: new StateMirror({ ...this.slices, [name]: value }, this.#snapshot, known),
    }
  }

  #without(name: string, offset: Offset): Mirroring {
    const { [name]: _, ...slices } = this.slices
    const known = new Map(this.#known).set(name, { offset, exact: true })
    return { kind: 'applied', mirror: new StateMirror(slices, this.#snapshot, known) }
  }
}

/** The empty state, of a topic that has not begun. */
export const emptyMirror = StateMirror.of({}, start)

function readUpdate(data: JsonValue): StateUpdate | undefined {
  if (!isObject(data)) return undefined
  const { slice, base, patch, value, removed } = data
  if (typeof slice !== 'string' || typeof base !== 'number') return undefined
  if (!Array.isArray(patch) && value === undefined && removed !== true) return undefined
  return data as StateUpdate
}
