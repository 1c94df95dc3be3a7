import assert from 'node:assert/strict'
import { applyPatch, type Operation } from 'rfc6902'
import type { JsonValue } from '../../src/lib/json.js'
import type { HubEvent, Slices, StateUpdate } from '../../src/protocol/frames.js'

/** The slice that the simulated hub does not expose. */
export const hidden = 'secret'

interface Change {
  readonly offset: number
  /** Absent when the slice was removed. */
  readonly value: JsonValue | undefined
}

/** Every value that the slices of one session ever had, by topic and name; without the hub's own. */
export class StateModel {
  readonly #changes = new Map<string, Change[]>()

  change(topic: string, slice: string, change: Change): void {
    const changes = this.#changesOf(topic, slice)
    changes.push(change)
    this.#changes.set(`${topic} ${slice}`, changes)
  }

  now(topic: string, slice: string): JsonValue | undefined {
    return this.#changesOf(topic, slice).at(-1)?.value
  }

  at(topic: string, slice: string, offset: number): Change | undefined {
    return this.#changesOf(topic, slice).find((change) => change.offset === offset)
  }

  /** @returns where the slice had this value */
  offsetsOf(topic: string, slice: string, value: JsonValue): number[] {
    return this.#changesOf(topic, slice)
      .filter((change) => change.value !== undefined && same(change.value, value))
      .map(({ offset }) => offset)
  }

  /** @returns the slices as a client of the topic names them */
  slices(topic: string, wants: (slice: string) => boolean): Record<string, JsonValue> {
    const found: Record<string, JsonValue> = {}
    const all = topic.endsWith('/**')
    const own = all ? topic.slice(0, -3) : topic
    for (const [name, changes] of this.#changes) {
      const [of = '', slice = ''] = name.split(' ')
      const value = changes.at(-1)?.value
      if (value === undefined || !wants(slice)) continue
      if (of === own) found[slice] = value
      else if (all) found[`${of.slice(own.length + 1)}/${slice}`] = value
    }
    return found
  }

  #changesOf(topic: string, slice: string): Change[] {
    return this.#changes.get(`${topic} ${slice}`) ?? []
  }
}

/** What one client knows of a slice: its value, and the updates at which it may be. */
interface Known {
  readonly value: JsonValue
  /** Absent for what the hub keeps itself, until the first update. */
  readonly offsets: readonly number[] | undefined
}

/** What a client has got. */
export interface StateCounts {
  updates: number
  /** Updates that stood for several. */
  conflated: number
}

/** A client's mirror of a topic's state, which checks every snapshot, base and value against the model. */
export class StateView {
  readonly #topic: string
  #known = new Map<string, Known>()
  readonly #counts: StateCounts

  constructor(topic: string, counts: StateCounts) {
    this.#topic = topic
    this.#counts = counts
  }

  /** Takes a snapshot, of whatever moment. */
  begin(slices: Slices, model: StateModel): void {
    this.#known = new Map()
    for (const [name, value] of Object.entries(slices)) {
      const { topic, slice } = this.#placeOf(name)
      assert.notEqual(slice, hidden)
      const offsets = slice.startsWith('$') ? undefined : model.offsetsOf(topic, slice, value)
      assert(offsets?.length !== 0, `${this.#topic}: ${name} never was ${JSON.stringify(value)}`)
      this.#known.set(name, { value, offsets })
    }
  }

  /** Takes a `state.update`. */
  take(event: HubEvent, model: StateModel): void {
    const update = event.data as unknown as StateUpdate
    const { slice, base } = update
    const name = this.#topic.endsWith('/**') && event.worker ? `workers/${event.worker}/${slice}` : slice
    const where = `${this.#topic}: ${name} at ${event.offset} on ${base}`
    assert.notEqual(slice, hidden)
    const known = this.#known.get(name)
    this.#counts.updates++
    if (base === 0) {
      assert(!('patch' in update), `${where} is a patch of nothing`)
      if (known !== undefined) this.#counts.conflated++
    } else {
      assert(known !== undefined, `${where} builds on what is not known`)
      assert(
        known.offsets?.includes(base) !== false,
        `${where} builds on another than ${known.offsets?.join()}`,
      )
    }
    const value =
      'value' in update ? update.value : 'patch' in update ? patched(known, update.patch) : undefined
    if (!slice.startsWith('$')) {
      const { topic } = this.#placeOf(name)
      const change = model.at(topic, slice, event.offset)
      assert(change !== undefined, `${where} did not change then`)
      assert.deepEqual(value, change.value, where)
    }
    if (value === undefined) this.#known.delete(name)
    else this.#known.set(name, { value, offsets: [event.offset] })
  }

  /** All that was due has come. */
  finish(model: StateModel, wants: (slice: string) => boolean): void {
    const own = [...this.#known].filter(([name]) => !name.startsWith('$'))
    const mirrored = Object.fromEntries(own.map(([name, { value }]) => [name, value]))
    assert.deepEqual(mirrored, model.slices(this.#topic, wants), this.#topic)
  }

  /** The slices that the hub keeps itself. */
  get reserved(): Slices {
    const own = [...this.#known].filter(([name]) => name.startsWith('$'))
    return Object.fromEntries(own.map(([name, { value }]) => [name, value]))
  }

  #placeOf(name: string): { readonly topic: string; readonly slice: string } {
    if (!this.#topic.endsWith('/**')) return { topic: this.#topic, slice: name }
    const session = this.#topic.slice(0, -3)
    const [, worker, slice] = /^workers\/([^/]+)\/(.+)$/.exec(name) ?? []
    return worker === undefined
      ? { topic: session, slice: name }
      : { topic: `${session}/workers/${worker}`, slice: slice as string }
  }
}

/** The choice of slices, interpreted: what the compiled one is compared with. */
export function wantsSlice(slices: readonly string[] | undefined, slice: string): boolean {
  if (slices === undefined || slice === hidden) return false
  const named = slices.filter((entry) => !slice.startsWith('$') || entry === '*' || entry.startsWith('$'))
  return named.some((entry) => (entry.endsWith('*') ? slice.startsWith(entry.slice(0, -1)) : entry === slice))
}

/** By an implementation of RFC 6902 that is not the hub's. It cannot replace the root, so the value has one above. */
function patched(
  known: Known | undefined,
  patch: Extract<StateUpdate, { patch: unknown }>['patch'],
): JsonValue {
  const root = { value: structuredClone(known?.value ?? null) }
  const operations = patch.map((operation) => ({ ...operation, path: `/value${operation.path}` }))
  const faults = applyPatch(root, structuredClone(operations) as Operation[])
  assert(
    faults.every((fault) => fault === null),
    `a patch does not fit: ${faults.join()}`,
  )
  return root.value
}

function same(a: JsonValue, b: JsonValue): boolean {
  try {
    assert.deepEqual(a, b)
    return true
  } catch {
    return false
  }
}
