import { type Epoch, formatCursor, type Offset, start } from '../protocol/cursor.js'
import type { ControlFrame, Events, HubEvent } from '../protocol/frames.js'
import { type Batch, type Codec, EncodingCount } from './codec.js'
import { ObjectCodec } from './object.js'
import type { Block, DialectRuns } from './runs.js'
import { SseCodec, type SseCounts } from './sse.js'

/** How far a run has been told: the same object for all who are equally far. */
export interface RunPoint {
  /** The offset of the event that the run began with; 0 where the whole session is one. */
  readonly from: Offset
  readonly state: unknown
  /** `waiting`: no run is active. */
  readonly phase: 'waiting' | 'running' | 'paused' | 'ended'
}

/** What the events of a frame have told. */
export interface TellingStep {
  readonly point: RunPoint
  readonly bytes: Uint8Array
  /** Another run has begun although this one has not ended. */
  readonly broken?: true
}

/** Folds the events of one frame. */
export type Step = (point: RunPoint, events: readonly HubEvent[]) => TellingStep

/** How far those are who are in step and are told the same. */
export interface Shared {
  offset: Offset
  /** Absent while nobody is in step. */
  point: RunPoint | undefined
  links: number
}

const encoder = new TextEncoder()

/**
 * The frames of one dialect that tells runs. What a flush brings is told once, whatever the number of clients: all
 * who are equally far share what they know (`RunPoint`), and what a frame has told from there.
 */
export class RunCodec implements Codec {
  readonly name: string
  readonly namesFeeds = true
  readonly runs: DialectRuns
  readonly #frames = new ObjectCodec()
  readonly #count = new EncodingCount()
  readonly #told = new WeakMap<Events, { readonly before: RunPoint; readonly step: TellingStep }>()
  /** By topic, epoch and variant: how far those are who are in step. */
  readonly #shared = new Map<string, Shared>()
  readonly #words: SseCodec

  constructor(name: string, runs: DialectRuns) {
    this.name = `sse:${name}`
    this.runs = runs
    const counts: SseCounts = { json: new EncodingCount(), blocks: new EncodingCount() }
    this.#words = new SseCodec('data', 'one', counts)
  }

  get encodings(): number {
    return this.#count.encodings
  }

  control(frame: ControlFrame): ControlFrame {
    return this.#frames.control(frame)
  }

  batch(batch: Batch): Events {
    return this.#frames.batch(batch)
  }

  /** @returns what a frame tells from a point; done once for all who are there */
  step(frame: Events, before: RunPoint, step: Step): TellingStep {
    const known = this.#told.get(frame)
    if (known?.before === before) return known.step
    this.#count.encodings += frame.events.length
    const made = step(before, frame.events)
    this.#told.set(frame, { before, step: made })
    return made
  }

  /** What the hub says of itself: a comment. */
  comment(name: string, data: object): Uint8Array {
    return encoder.encode(`: ${name} ${JSON.stringify(data)}\n\n`)
  }

  closing: SseCodec['closing'] = (code, reason, retryMs) => this.#words.closing(code, reason, retryMs)

  /** How far those are that are told the same, if there are any. */
  known(key: string): Readonly<Shared> | undefined {
    return this.#shared.get(key)
  }

  /** A client follows that is told the same as others. */
  enter(key: string): Shared {
    let shared = this.#shared.get(key)
    if (shared === undefined) this.#shared.set(key, (shared = { offset: start, point: undefined, links: 0 }))
    shared.links++
    return shared
  }

  /** A client is at this offset. @returns the point of those who are there, which may be another object than its own */
  meet(shared: Shared, offset: Offset, point: RunPoint): RunPoint {
    const met = shared.point
    if (met !== undefined && shared.offset === offset && met.from === point.from && met.phase === point.phase)
      return met
    if (met === undefined || shared.offset < offset) {
      shared.offset = offset
      shared.point = point
    }
    return point
  }

  leave(key: string): void {
    const shared = this.#shared.get(key)
    if (shared === undefined) return
    shared.links--
    if (shared.links === 0) this.#shared.delete(key)
  }
}

/** @returns the blocks of an event, the last of them with the cursor as its `id`; an id alone where there are none */
export function withIds(blocks: readonly Block[], epoch: Epoch, offset: Offset): string {
  const id = `id: ${formatCursor(epoch, offset)}\n`
  if (blocks.length === 0) return ''
  const last = blocks.length - 1
  return blocks.map(({ text }, index) => (index === last ? id + text : text)).join('')
}
