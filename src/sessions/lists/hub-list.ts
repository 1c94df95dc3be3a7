import type { JsonObject } from '../../lib/json.js'
import { type Epoch, type Offset, start } from '../../protocol/cursor.js'
import type { Following } from '../../session/audience.js'
import { HubTopic } from '../../session/hub-topic.js'
import { hubTimeline, type Timeline } from '../../session/timeline.js'
import type { StateSetting } from '../../session/topic.js'
import type { StateRoom } from '../../state/room.js'
import { noCounts } from '../../state/topic-state.js'

/** The topic `hub` for clients with the same visible sessions: one slice, with offsets of its own. */
export class HubList implements Timeline {
  readonly id = hubTimeline
  readonly epoch: Epoch
  readonly topic: HubTopic
  readonly status = 'running'
  readonly completion = undefined
  readonly journal = undefined
  readonly room: StateRoom
  readonly past = undefined
  /** The visible sessions; absent: all. */
  readonly ids: readonly string[] | undefined
  readonly #slice: (ids: readonly string[] | undefined) => JsonObject
  #offset: Offset = start
  #following: Following | undefined = undefined
  #stale = true

  /** @param slice returns the slice `sessions` of the visible ones */
  constructor(
    epoch: Epoch,
    ids: readonly string[] | undefined,
    { state, slice }: { state: StateSetting; slice: (ids: readonly string[] | undefined) => JsonObject },
  ) {
    this.epoch = epoch
    this.ids = ids
    this.#slice = slice
    this.room = state.room()
    // The hub bounds the slice itself, and it is not counted.
    const unbounded = { sliceBytesMax: Number.POSITIVE_INFINITY, stateBytesMax: Number.POSITIVE_INFINITY }
    this.topic = new HubTopic(this, {
      ...state,
      limits: { ...state.limits, ...unbounded },
      counts: noCounts(),
    })
  }

  get offset(): Offset {
    return this.#offset
  }

  get needsRefresh(): boolean {
    return this.#stale && this.topic.watched
  }

  supersedes(): boolean {
    return false
  }

  get following(): Following | undefined {
    return this.#following
  }

  setFollowing(following: Following | undefined): void {
    this.#following = following
  }

  /** Facts in the list have changed. */
  changed(): void {
    this.#stale = true
  }

  refresh(now: number): void {
    if (!this.#stale) return
    this.#stale = false
    const moment = { offset: (this.#offset + 1) as Offset, time: now }
    const change = this.topic.state.set('sessions', this.#slice(this.ids), moment)
    if (change.kind === 'unchanged') return
    this.#offset = moment.offset
    if (this.topic.exposes('sessions')) this.topic.audience?.pend(change.entry)
  }
}
