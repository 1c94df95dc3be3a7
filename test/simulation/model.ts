import assert from 'node:assert/strict'
import type { Catalog } from '../../src/catalog/catalog.js'
import type { Traits } from '../../src/catalog/traits.js'
import type { HubEvent, Mode, NewEvent } from '../../src/protocol/frames.js'
import { StateModel } from './state.js'

/** A published event, as the model remembers it: for ever. */
export interface Told {
  readonly event: HubEvent
  readonly traits: Traits
  readonly force: boolean
  readonly everywhere: boolean
  /** Topics whose naive lanes still hold it. */
  readonly retainedIn: globalThis.Set<string>
}

export interface Interest {
  readonly topic: string
  readonly slices?: readonly string[]
  readonly types?: readonly string[]
  readonly mode: Mode
}

/** One life of a session: every event it ever had, and two naive lanes a topic. */
export class SessionModel {
  readonly id: string
  readonly told: Told[] = []
  readonly state = new StateModel()
  ended = false
  readonly #lanes = new Map<string, Told[]>()
  readonly #catalog: Catalog
  readonly #laneEventsMax: number

  constructor(id: string, catalog: Catalog, laneEventsMax: number) {
    this.id = id
    this.#catalog = catalog
    this.#laneEventsMax = laneEventsMax
  }

  get topic(): string {
    return `sessions/${this.id}`
  }

  publish(offset: number, event: NewEvent, worker: string | undefined, time: number): void {
    const traits = this.#catalog.traitsOf(event.type)
    const key = event.key ?? triggerKey(event, traits)
    const made = {
      offset,
      type: event.type,
      time,
      data: event.data ?? null,
      ...(worker === undefined ? undefined : { worker }),
      ...(event.id === undefined ? undefined : { id: event.id }),
      ...(key === undefined ? undefined : { key }),
    } as HubEvent
    const told = {
      event: made,
      traits,
      force: event.force === true,
      everywhere: false,
      retainedIn: new Set<string>(),
    }
    this.told.push(told)
    if (worker === undefined || traits.rollup) this.#retain(told, this.topic)
    if (worker !== undefined) this.#retain(told, `${this.topic}/workers/${worker}`)
  }

  end(offset: number, time: number, data: HubEvent['data'], workers: readonly string[]): void {
    const event = { offset, type: 'complete', time, data } as HubEvent
    const traits = this.#catalog.traitsOf('complete')
    const told = { event, traits, force: false, everywhere: true, retainedIn: new Set<string>() }
    this.told.push(told)
    this.ended = true
    for (const topic of [this.topic, ...workers.map((worker) => `${this.topic}/workers/${worker}`)]) {
      this.#retain(told, topic)
    }
  }

  /** @returns what a subscription is owed in (after, last], one by one. */
  due(interest: Interest, after: number, last: number): Told[] {
    return this.told.filter(
      (told) =>
        told.event.offset > after &&
        told.event.offset <= last &&
        wants(interest, told) &&
        inTopic(interest.topic, told),
    )
  }

  /** @returns what a fresh join replays. */
  replay(interest: Interest, replay: boolean | 'all'): Told[] {
    const due = this.due(interest, 0, Number.POSITIVE_INFINITY)
    if (replay === false) return due.filter(({ everywhere }) => everywhere)
    return due.filter((told) => {
      const newest = told.traits.replay === 'latest' && this.isNewest(interest.topic, told)
      const retained = this.isRetained(interest.topic, told)
      if (replay === 'all') return retained || newest
      return told.everywhere || (told.traits.replay === 'all' && retained) || newest
    })
  }

  isRetained(topic: string, { retainedIn }: Told): boolean {
    return topic.endsWith('/**') ? retainedIn.size > 0 : retainedIn.has(topic)
  }

  /** @returns whether nothing newer of the type and key stands in one of the topic's own topics. */
  isNewest(topic: string, told: Told): boolean {
    const own = topic.endsWith('/**') ? this.#topicsOf(told) : [topic]
    return own.some((name) =>
      this.told.every(
        (other) =>
          other.event.offset <= told.event.offset ||
          other.event.type !== told.event.type ||
          other.event.key !== told.event.key ||
          !inTopic(name, other),
      ),
    )
  }

  #topicsOf({ event: { worker }, traits }: Told): string[] {
    if (worker === undefined) return [this.topic]
    const own = `${this.topic}/workers/${worker}`
    return traits.rollup ? [own, this.topic] : [own]
  }

  #retain(told: Told, topic: string): void {
    const name = `${topic} ${told.traits.critical}`
    const lane = this.#lanes.get(name) ?? []
    this.#lanes.set(name, lane)
    if (lane.length === this.#laneEventsMax) lane.shift()?.retainedIn.delete(topic)
    lane.push(told)
    told.retainedIn.add(topic)
  }
}

function triggerKey(event: NewEvent, { key }: Traits): string | undefined {
  if (key === undefined) return undefined
  const value = (event.data as Record<string, string | number> | undefined)?.[key]
  return value === undefined ? undefined : String(value)
}

function inTopic(topic: string, { event: { worker }, traits, everywhere }: Told): boolean {
  if (everywhere || topic.endsWith('/**')) return true
  const [, own] = topic.split('/workers/')
  return own === undefined ? worker === undefined || traits.rollup : worker === own
}

/** The filter, interpreted: what the compiled one is compared with. */
export function wants(
  { types, mode }: Interest,
  { event: { type }, traits, force, everywhere }: Told,
): boolean {
  if (everywhere) return true
  if (types !== undefined) {
    const fits = (pattern: string) =>
      pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern
    const excluded = types.filter((entry) => entry.startsWith('!')).some((entry) => fits(entry.slice(1)))
    const inclusions = types.filter((entry) => !entry.startsWith('!'))
    if (excluded || types.length === 0) return false
    if (inclusions.length > 0 && !inclusions.some(fits)) return false
  }
  if (force || mode === 'full') return true
  if (mode === 'summary') return traits.level !== 'delta'
  return mode === 'control' && traits.level === 'control'
}

/**
 * Matches what came against what was due, one by one or joined, and calls `missing` for what was left out.
 *
 * @throws when something came that was not due, was out of order, or differs
 */
export function reconcile(
  due: readonly Told[],
  came: readonly HubEvent[],
  missing: (told: Told) => void,
): void {
  let next = 0
  for (const event of came) {
    const parts: Told[] = []
    let text = textOf(
      event,
      due.find((told) => told.event.offset === event.offset),
    )
    for (; next < due.length && (due[next] as Told).event.offset <= event.offset; next++) {
      const told = due[next] as Told
      const part = textOf(told.event, told)
      const isLast = told.event.offset === event.offset
      const isPart =
        text !== undefined && part !== undefined && text.startsWith(part) && told.event.type === event.type
      if (isLast || (isPart && part !== text)) {
        parts.push(told)
        text = text?.slice(part?.length)
      } else missing(told)
    }
    assert.equal(
      parts.at(-1)?.event.offset,
      event.offset,
      `got ${event.offset} (${event.type}), which was not due`,
    )
    check(parts, event)
  }
  for (; next < due.length; next++) missing(due[next] as Told)
}

/** The text that may be joined; nothing for types that cannot. */
function textOf(event: HubEvent, told: Told | undefined): string | undefined {
  const field = told?.traits.merge?.text as string | undefined
  return field === undefined ? undefined : (event.data as Record<string, string>)[field]
}

function check(parts: readonly Told[], { replay: _, ...event }: HubEvent): void {
  const last = parts.at(-1) as Told
  if (parts.length === 1) return assert.deepEqual(event, last.event)
  const field = last.traits.merge?.text as string
  const text = parts.map((told) => textOf(told.event, told)).join('')
  const { id: _id, ...rest } = last.event
  assert.deepEqual(event, { ...rest, data: { ...(last.event.data as object), [field]: text } })
  for (const told of parts) {
    const { type, worker, data } = told.event
    assert.deepEqual(
      { type, worker, data: { ...(data as object), [field]: '' } },
      { type: event.type, worker: event.worker, data: { ...(event.data as object), [field]: '' } },
    )
  }
}
