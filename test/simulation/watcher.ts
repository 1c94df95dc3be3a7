import assert from 'node:assert/strict'
import type { Chunk } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import type { Hub } from '../../src/hub/hub.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { HubEvent, HubFrame } from '../../src/protocol/frames.js'
import { type MemoryPeer, memoryLink } from '../../src/transport/memory.js'
import type { SimulatedClock } from '../kit/clock.js'

/** An event as it was published. */
export interface Published {
  readonly offset: number
  readonly id: string
  readonly data: unknown
  /** The hub that had it was killed before it was kept. */
  lost: boolean
  acknowledged: boolean
}

/** One epoch of a session. */
export interface Life {
  readonly session: string
  readonly epoch: string
  readonly events: Published[]
  readonly byOffset: Map<number, Published>
}

/** What the watchers are checked against. */
export interface Truth {
  life(session: string, epoch: string): Life | undefined
  /** Up to where retention has taken the events of a life. */
  trimmed(life: Life): number
}

export interface WatcherCounts {
  events: number
  gaps: number
  joins: number
  resumes: number
  closes: number
}

/** Follows a whole session for ever, from one hub to the next, and checks that nothing is missing, twice or another. */
export class Watcher {
  readonly #session: string
  readonly #truth: Truth
  readonly #counts: WatcherCounts
  readonly #backpressureMax: number
  #connection: Connection | undefined
  #peer: MemoryPeer | undefined
  #epoch = ''
  position = 0
  #excused = 0
  isLive = false

  constructor(session: string, truth: Truth, counts: WatcherCounts, backpressureMax: number) {
    this.#session = session
    this.#truth = truth
    this.#counts = counts
    this.#backpressureMax = backpressureMax
  }

  get connected(): boolean {
    return this.#connection !== undefined
  }

  get life(): Life | undefined {
    return this.#truth.life(this.#session, this.#epoch)
  }

  connect(hub: Hub, clock: SimulatedClock): void {
    const opened: { connection?: Connection } = {}
    const { link, peer } = memoryLink(hub.codecs.object, {
      clock,
      backpressureMax: this.#backpressureMax,
      receive: (chunk: Chunk) => {
        if (this.#connection === opened.connection) this.#take(chunk as unknown as HubFrame)
      },
      drained: () => opened.connection?.drained(),
      closed: ({ kind }) => {
        opened.connection?.closed()
        if (this.#connection !== opened.connection) return
        if (kind === 'closed') this.#counts.closes++
        this.#connection = undefined
      },
    })
    // The welcome comes before anybody knows the connection.
    const connection = hub.connect(link)
    opened.connection = connection
    this.#connection = connection
    this.#peer = peer
    this.isLive = false
    this.subscribe()
  }

  subscribe(): void {
    const after = this.#epoch === '' ? undefined : `${this.#epoch}:${this.position}`
    try {
      this.#connection?.receive({
        type: 'subscribe',
        sub: 1,
        topic: `sessions/${this.#session}/**`,
        ...(after !== undefined && { after }),
      })
    } catch (error) {
      // The store could not be asked: later, then.
      assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
      this.cut()
    }
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
    this.#peer?.cut()
    connection?.closed()
  }

  #take(frame: HubFrame): void {
    switch (frame.type) {
      case 'subscribed': {
        if (this.#epoch !== frame.epoch) this.#excused = 0
        if (frame.gap !== undefined) this.#gap(frame.gap.offset)
        else if (this.#epoch === '') this.#counts.joins++
        else {
          assert(frame.resumed)
          assert.equal(frame.epoch, this.#epoch, 'an epoch changes with a gap alone')
          assert.equal(frame.offset, this.position, 'a resume begins where the cursor is')
          this.#counts.resumes++
        }
        this.#epoch = frame.epoch
        this.position = frame.offset
        return
      }
      case 'events': {
        if (frame.replay) for (const event of frame.events) this.#check(event)
        else this.#advance(frame.after ?? 0, frame.last ?? 0, frame.events)
        return
      }
      case 'live':
        this.isLive = true
        return this.#advance(this.position, frame.offset, [])
      case 'gap':
        return this.#gap(frame.offset)
      case 'unsubscribed':
        assert.equal(frame.code, 'removed')
        this.#epoch = ''
        this.position = 0
        this.isLive = false
        return this.cut()
      default:
        return
    }
  }

  #gap(offset: number): void {
    this.#counts.gaps++
    this.#excused = Math.max(this.#excused, offset)
  }

  #check(event: HubEvent): Published | undefined {
    if (event.type !== 'note' && event.type !== 'execution_started') return undefined
    const where = `${this.#session} ${this.#epoch}:${event.offset}`
    const told = this.life?.byOffset.get(event.offset)
    assert(told !== undefined, `${where} was never published`)
    assert(!told.lost, `${where} was lost with its hub`)
    assert.deepEqual([event.id, event.data], [told.id, told.data], `${where} means two events`)
    this.#counts.events++
    return told
  }

  #advance(after: number, last: number, events: readonly HubEvent[]): void {
    assert(after <= this.position, `after ${after} is above the position ${this.position}`)
    if (last <= this.position) return
    const came = new Set<Published>()
    let before = this.position
    for (const event of events) {
      assert(event.offset > before && event.offset <= last, `${event.offset} follows ${before}`)
      before = event.offset
      const told = this.#check(event)
      if (told !== undefined) came.add(told)
    }
    const { life } = this
    if (life !== undefined) this.#expectAll(life, last, came)
    this.position = last
  }

  #expectAll(life: Life, last: number, came: ReadonlySet<Published>): void {
    for (let index = life.events.length - 1; index >= 0; index--) {
      const told = life.events[index] as Published
      if (told.offset <= this.position) return
      if (told.offset > last || told.lost || came.has(told)) continue
      const where = `${this.#session} ${this.#epoch}:${told.offset}, at ${this.position} to ${last}`
      assert(told.offset <= this.#truth.trimmed(life), `${where} is missing, and was not trimmed`)
      assert(told.offset <= this.#excused, `${where} is missing without a gap`)
    }
  }

  /** All that was published has come. */
  finish(): void {
    assert(this.isLive, `${this.#session} never went live`)
    const newest = this.life?.events.findLast(({ lost }) => !lost)
    if (newest !== undefined) assert(this.position >= newest.offset, `${this.#session} misses the end`)
  }
}
