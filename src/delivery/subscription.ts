import type { Entry } from '../history/entry.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Connection } from './connection.js'
import type { Feed } from './feed.js'
import { Replay, type ReplayPage } from './replay.js'
import type { StoredFrames } from './stored-replays.js'

/** A replay under way: what a fresh join still has to get before it goes on from its position. */
export type Replaying =
  /** Everything up to `after` has come from the store; `frames` are absent until it has answered. */
  | {
      readonly from: 'store'
      readonly replay: Replay
      readonly after: Offset
      frames: StoredFrames | undefined
      next: number
    }
  | { readonly from: 'memory'; readonly page: ReplayPage; next: number }

/**
 * One connection's interest in one feed.
 *
 * In step: a member of the feed, which stores nothing but the membership. Behind: out of the feed, with its own
 * position; it continues from history and then joins the feed again.
 */
export class Subscription {
  /** The client's own integer. */
  readonly number: number
  readonly connection: Connection
  feed: Feed
  /** While behind: everything up to here has been sent. In step: where it joined the feed. */
  position: Offset
  /** Its place among the feed's members; −1 while behind. */
  place = -1
  /** What its feed had given its members when it joined them: so that nothing is counted for each delivery. */
  eventsBefore = 0
  bytesBefore = 0
  replaying: Replaying | undefined = undefined
  /** A page of the store is on its way. */
  fetching = false
  /** Whether `live` was sent: all that was due on join or resume. */
  announced = false
  /** Nothing may be conflated: the client may have some of what follows its cursor, and tells it by offset. */
  exact = false
  /** The newest loss that a gap has told of. */
  gapTold: Offset
  /** How many events the topic had dropped when the subscription fell behind. */
  droppedBefore = 0
  /** The newest snapshot of state that it got is of this moment. */
  snapshotAt: Offset = start

  constructor(number: number, connection: Connection, feed: Feed, position: Offset) {
    this.number = number
    this.connection = connection
    this.feed = feed
    this.position = position
    this.gapTold = position
  }

  /** Begins a replay, if there is anything to replay. */
  begin(replay: Replay): void {
    const { stored, isEmpty } = replay
    if (isEmpty) this.replaying = undefined
    else if (stored === undefined) this.replayHeld(replay, start)
    else this.replayStored(replay, stored.after)
  }

  /** The replay goes on in the store. */
  replayStored(replay: Replay, after: Offset): void {
    this.replaying = { from: 'store', replay, after, frames: undefined, next: 0 }
  }

  /** The replay ends with what memory holds after an offset. */
  replayHeld(replay: Replay, after: Offset): void {
    this.replaying = { from: 'memory', page: replay.held(after), next: 0 }
  }

  /** Keeps of a replay under way only what a new filter accepts. */
  retainReplay(accepts: (entry: Entry) => boolean): void {
    const at = this.replaying
    if (at === undefined) return
    if (at.from === 'store') {
      const sent = at.frames?.list[at.next - 1]?.last ?? start
      this.replayStored(at.replay.filtered(accepts), sent > at.after ? sent : at.after)
    } else this.begin(new Replay(at.page.entries.slice(at.next).filter(accepts)))
  }

  get inStep(): boolean {
    return this.place >= 0
  }

  /** Everything up to here has been matched, and sent if it matched. */
  get reached(): Offset {
    return this.inStep ? this.feed.flushed : this.position
  }

  /** The position that the client knows of. */
  get told(): Offset {
    return this.inStep && this.feed.sent > this.position ? this.feed.sent : this.position
  }
}
