import assert from 'node:assert/strict'
import { applyPatch, type Operation } from 'rfc6902'
import type { Chunk } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import type { Hub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { GapNotice, HubEvent, HubFrame, Slices, StateUpdate } from '../../src/protocol/frames.js'
import { type MemoryPeer, memoryLink } from '../../src/transport/memory.js'
import type { SimulatedClock } from '../kit/clock.js'

interface Known {
  readonly value: JsonValue
  /** Absent where it came with a snapshot. */
  readonly offset: number | undefined
}

export interface LogClientCounts {
  events: number
  updates: number
  gaps: number
  lostGaps: number
  evicted: number
  joins: number
  resumes: number
  moves: number
  comebacks: number
}

/** The subscription that asks who watches. */
const asking = 2

/** Follows all of one session, at one hub and then another, and remembers what it was told. */
export class LogClient {
  readonly session: string
  epoch = ''
  position = 0
  /** Where it joined afresh: what was before it does not get. */
  joinedAt = 0
  /** In this epoch: what it has got, by offset, and what it was told that it will not get, or should not have. */
  seen = new Map<number, HubEvent>()
  gaps: GapNotice[] = []
  mirror = new Map<string, Known>()
  isLive = false
  readonly #counts: LogClientCounts
  readonly #clock: SimulatedClock
  #connection: Connection | undefined
  #peer: MemoryPeer | undefined
  #feed = 0

  readonly #slices: readonly string[]

  constructor(session: string, slices: readonly string[], clock: SimulatedClock, counts: LogClientCounts) {
    this.session = session
    this.#slices = slices
    this.#clock = clock
    this.#counts = counts
  }

  /** Whether it follows what the hubs say of the session. */
  get watches(): boolean {
    return this.#slices.includes('$session')
  }

  get connected(): boolean {
    return this.#connection !== undefined
  }

  connect(hub: Hub): void {
    const opened: { connection?: Connection } = {}
    const { link, peer } = memoryLink(hub.codecs.object, {
      clock: this.#clock,
      backpressureMax: 20,
      receive: (chunk: Chunk) => {
        if (this.#connection === opened.connection) this.#take(chunk as unknown as HubFrame)
      },
      drained: () => opened.connection?.drained(),
      closed: ({ kind }) => {
        opened.connection?.closed()
        if (this.#connection !== opened.connection) return
        if (kind === 'closed') this.#counts.comebacks++
        this.#connection = undefined
        this.isLive = false
      },
    })
    const connection = hub.connect(link)
    opened.connection = connection
    this.#connection = connection
    this.#peer = peer
    this.isLive = false
    const topic = `sessions/${this.session}/**`
    const after = this.epoch === '' ? undefined : `${this.epoch}:${this.position}`
    const subscribe = (): void => {
      if (this.#connection !== connection) return
      connection.receive({
        type: 'subscribe',
        sub: 1,
        topic,
        slices: this.#slices,
        ...(after !== undefined && { after }),
      })
      if (!this.watches) return
      const asked = `sessions/${this.session}`
      connection.receive({ type: 'subscribe', sub: asking, topic: asked, types: [], slices: ['$watchers'] })
    }
    Promise.resolve(hub.open(topic, after))
      .then(subscribe)
      .catch((error: unknown) => {
        assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
        if (this.#connection === connection) this.cut()
      })
  }

  stall(): void {
    this.#peer?.stall()
  }

  resume(): void {
    this.#peer?.resume()
  }

  /** The link breaks, or the hub is gone. */
  cut(): void {
    const connection = this.#connection
    this.#connection = undefined
    this.isLive = false
    this.#peer?.cut()
    connection?.closed()
  }

  #take(frame: HubFrame): void {
    // It asks who watches, and is told in the topic of all.
    if ('sub' in frame ? frame.sub === asking : 'feed' in frame && frame.feed !== this.#feed) return
    switch (frame.type) {
      case 'subscribed': {
        const { epoch, offset, slices, gap, resumed } = frame
        this.#feed = frame.feed
        if (this.epoch === '') {
          this.#begin(epoch)
          this.joinedAt = offset
          this.#counts.joins++
        } else if (epoch !== this.epoch) {
          assert(gap !== undefined, 'an epoch changes with a gap alone')
          this.#begin(epoch)
        } else if (gap === undefined) {
          assert(resumed)
          assert.equal(offset, this.position, 'a resume begins where the cursor is')
          this.#counts.resumes++
        }
        if (gap !== undefined) this.#gap(gap)
        this.position = offset
        if (slices !== undefined) this.#snapshot(slices)
        return
      }
      case 'events': {
        if (frame.replay !== true) this.#advance(frame.after ?? 0, frame.last ?? 0, frame.events)
        return
      }
      case 'live':
        this.isLive = true
        return this.#advance(this.position, frame.offset, [])
      case 'gap':
        this.#gap(frame)
        if (frame.slices !== undefined) this.#snapshot(frame.slices)
        return
      case 'unsubscribed':
        assert.equal(frame.code, 'removed')
        this.epoch = ''
        return this.cut()
      default:
        return
    }
  }

  #begin(epoch: string): void {
    this.epoch = epoch
    this.seen = new Map()
    this.gaps = []
    this.joinedAt = 0
    this.mirror = new Map()
  }

  #gap(gap: GapNotice): void {
    this.#counts.gaps++
    if (gap.reason === 'epoch') this.#counts.lostGaps++
    if (gap.reason === 'evicted') this.#counts.evicted++
    this.gaps.push(gap)
  }

  #snapshot(slices: Slices): void {
    this.mirror = new Map(Object.entries(slices).map(([name, value]) => [name, { value, offset: undefined }]))
  }

  #advance(after: number, last: number, events: readonly HubEvent[]): void {
    assert(after <= this.position, `after ${after} is above the position ${this.position}`)
    if (last <= this.position) return
    let before = this.position
    for (const event of events) {
      assert(
        event.offset > before && event.offset <= last,
        `${event.offset} follows ${before}, up to ${last}`,
      )
      before = event.offset
      if (event.type === 'state.update') this.#update(event)
      else {
        assert(!this.seen.has(event.offset), `${event.offset} came twice`)
        this.seen.set(event.offset, event)
        this.#counts.events++
      }
    }
    this.position = last
  }

  #update({ data, offset, worker }: HubEvent): void {
    this.#counts.updates++
    const update = data as unknown as StateUpdate
    const name = worker === undefined ? update.slice : `workers/${worker}/${update.slice}`
    const known = this.mirror.get(name)
    const where = `${name} at ${offset} on ${update.base}`
    if (update.base > 0) {
      assert(known !== undefined, `${where} builds on what is not known`)
      const isOn = known.offset === undefined || known.offset === update.base
      assert(isOn, `${where} builds on another than ${known.offset}`)
    }
    if ('removed' in update) this.mirror.delete(name)
    else if ('value' in update) this.mirror.set(name, { value: update.value, offset })
    else {
      // It cannot replace the root, so the value has one above.
      const root = { value: structuredClone(known?.value ?? null) }
      const operations = update.patch.map((one) => ({ ...one, path: `/value${one.path}` }))
      const faults = applyPatch(root, structuredClone(operations) as Operation[])
      assert(
        faults.every((fault) => fault === null),
        `${where}: a patch does not fit: ${faults.join()}`,
      )
      this.mirror.set(name, { value: root.value, offset })
    }
  }

  /** The slices of producers, or those of the hubs. */
  slices(own: boolean): Record<string, JsonValue> {
    const isOwn = (name: string): boolean => /(^|\/)\$/.test(name)
    return Object.fromEntries(
      [...this.mirror].filter(([name]) => isOwn(name) === own).map(([name, { value }]) => [name, value]),
    )
  }
}
