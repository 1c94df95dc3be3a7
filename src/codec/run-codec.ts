import { type Epoch, formatCursor, type Offset, start } from '../protocol/cursor.js'
import type { ControlFrame, Events, HubEvent } from '../protocol/frames.js'
import { type Batch, type Codec, EncodingCount } from './codec.js'
import { ObjectCodec } from './object.js'
import type { Block, DialectRuns } from './runs.js'
import { SseCodec, type SseCounts } from './sse.js'

/** A point up to which a run has been told. All clients at the same point share the object. */
export interface RunPoint {
  /** The offset of the first event of the run; 0 if the whole session is one run. */
  readonly from: Offset
  readonly state: unknown
  /** `waiting`: no run is active. */
  readonly phase: 'waiting' | 'running' | 'paused' | 'ended'
}

/** The result of telling the events of a frame. */
export interface TellingStep {
  readonly point: RunPoint
  readonly bytes: Uint8Array
  /** Another run has begun although this one has not ended. */
  readonly broken?: true
}

/** Folds the events of one frame. */
export type Step = (point: RunPoint, events: readonly HubEvent[]) => TellingStep

/** The point of the clients that are in step and are told the same. */
export interface Shared {
  offset: Offset
  /** Absent while no client is in step. */
  point: RunPoint | undefined
  links: number
}

const encoder = new TextEncoder()

/**
 * The frames of one dialect that tells runs. The events of a flush are told once for any number of clients: clients at the same
 * point share its state (`RunPoint`) and the blocks of each frame from there.
 */
export class RunCodec implements Codec {
  readonly name: string
  readonly namesFeeds = true
  readonly runs: DialectRuns
  readonly #frames = new ObjectCodec()
  readonly #count = new EncodingCount()
  readonly #steps = new WeakMap<Events, { readonly before: RunPoint; readonly step: TellingStep }>()
  /** The points of the clients that are in step, by topic, epoch and variant. */
  readonly #shared = new Map<string, Shared>()
  readonly #words: SseCodec

  constructor(name: string, runs: DialectRuns) {
    this.name = `sse:${name}`
    this.runs = runs
    const counts: SseCounts = { json: new EncodingCount(), blocks: new EncodingCount() }
    this.#words = new SseCodec('data', 'one', counts)
  }

  get oneByOne(): boolean {
    return this.runs.oneByOne === true
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

  /** @returns the result of telling a frame from a point; computed once for all clients at that point */
  step(frame: Events, before: RunPoint, step: Step): TellingStep {
    const known = this.#steps.get(frame)
    if (known?.before === before) return known.step
    this.#count.encodings += frame.events.length
    const made = step(before, frame.events)
    this.#steps.set(frame, { before, step: made })
    return made
  }

  /** A message of the hub itself, as a comment. */
  comment(name: string, data: object): Uint8Array {
    return encoder.encode(`: ${name} ${JSON.stringify(data)}\n\n`)
  }

  closing: SseCodec['closing'] = (code, reason, retryMs) => this.#words.closing(code, reason, retryMs)

  /** The shared point of the clients that are told the same, if there are any. */
  known(key: string): Readonly<Shared> | undefined {
    return this.#shared.get(key)
  }

  /** Adds a client to those that are told the same. */
  enter(key: string): Shared {
    let shared = this.#shared.get(key)
    if (shared === undefined) this.#shared.set(key, (shared = { offset: start, point: undefined, links: 0 }))
    shared.links++
    return shared
  }

  /** A client has reached this offset. @returns the shared point at this offset, which may be another object than its own */
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

/** @returns the blocks of an event, the last of them with the cursor as its `id`; empty if there are none */
export function withIds(blocks: readonly Block[], epoch: Epoch, offset: Offset): string {
  const id = `id: ${formatCursor(epoch, offset)}\n`
  if (blocks.length === 0) return ''
  const last = blocks.length - 1
  return blocks.map(({ text }, index) => (index === last ? id + text : text)).join('')
}
