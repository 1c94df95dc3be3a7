// Longer than 350 lines: the states of a subscription and every step between them, side by side.

import type { Entry } from '../history/entry.js'
import { type Offset, type Position, start } from '../protocol/cursor.js'
import type { GapNotice, UnsubscribedCode } from '../protocol/frames.js'
import type { ReplayWindow } from '../session/replayed.js'
import type { Feed } from './feed.js'
import type { Link } from './link.js'
import type { BatchQueue, Member, Membership } from './member.js'
import { Replay, type ReplayPage } from './replay.js'
import type { SnapshotParts } from './snapshot-parts.js'
import type { StoredFrames } from './stored-replays.js'

/** The connection, for its subscriptions. */
export interface Subscriber {
  readonly link: Link
  readonly subject: string | undefined
  readonly directLink: Link | undefined
  readonly queue: BatchQueue
  markFull(): void
  /** The subscription gets its events from history, in a later turn. */
  postpone(subscription: Subscription): void
  fail(error: unknown): void
  /** Events were passed to its link. */
  count(events: number, bytes: number): void
  unsubscribe(subscription: Subscription, code: UnsubscribedCode, reason: string): void
  comeBack(reason: string): void
  endIfDone(): void
}

/** The beginning of a subscription. */
export interface Beginning {
  /** The position to resume from. */
  readonly from: Position | undefined
  readonly replay: boolean | 'all'
  /** For a fresh join, instead of `replay`. */
  readonly window?: ReplayWindow
}

/** Not in the feed: it continues from history, after its position, and then joins the feed again. */
export interface Behind {
  readonly kind: 'behind'
  /** Everything up to here has been matched, and sent if it matched. */
  readonly position: Offset
  /** The position that the client knows: lower if nothing matched since. The next frame begins there. */
  readonly clientPosition: Offset
  /** Whether `live` was sent. */
  readonly liveSent: boolean
  /** Nothing may be conflated, because the client may have some events after its cursor, and recognizes them by offset. */
  readonly oneByOne: boolean
  /** The newest loss that was reported by a gap. */
  readonly gapTold: Offset
  /** How many droppable events the topic had dropped when this began. */
  readonly droppedBefore: number
  /** The offset of the newest snapshot that it received. */
  readonly snapshotAt: Offset
}

/** A fresh join that still has to get its replay, or the rest of it, before it continues from its position. */
export type Replaying = ReplayingStored | ReplayingHeld

interface ReplayingStored {
  readonly kind: 'replaying'
  readonly from: 'store'
  readonly replay: Replay
  /** Everything up to here was sent from the store. */
  readonly after: Offset
  /** Absent until the store has answered. */
  readonly frames: StoredFrames | undefined
  readonly next: number
  readonly afterwards: Behind
}

interface ReplayingHeld {
  readonly kind: 'replaying'
  readonly from: 'memory'
  readonly page: ReplayPage
  /** Everything up to here was sent before. */
  readonly after: Offset
  readonly next: number
  readonly afterwards: Behind
}

/** A read of the store is in progress. An answer to an earlier request is not used. */
export interface Reading {
  readonly kind: 'reading'
  readonly next: Replaying | Behind
}

/** A snapshot leaves in parts. */
export interface Sending {
  readonly kind: 'snapshot'
  readonly parts: SnapshotParts
  /** For a join: its kind in a cursor. */
  readonly of: 's' | 'g' | undefined
  readonly next: Replaying | Behind
}

/** Not answered yet, because there is no room for its snapshot, which is read when it is sent. */
export interface Joining {
  readonly kind: 'joining'
  /** Absent if it continues with another filter. */
  readonly beginning: Beginning | undefined
  /** The state after the snapshot. */
  readonly next: Replaying | Behind
}

/** A `Membership` is in step; the other states lead to it. */
export type SubscriptionState = Membership | Joining | Sending | Replaying | Reading | Behind

/** One connection's interest in one feed. */
export class Subscription implements Member {
  /** The client's own integer. */
  readonly number: number
  readonly #subscriber: Subscriber
  #feed: Feed
  #state: SubscriptionState
  /** The position when it became silent. */
  #silentFrom: Offset | undefined
  /** The events that it has skipped while it was silent. */
  #skipped: GapNotice | undefined

  /** It begins behind, at the session's offset. */
  constructor(number: number, subscriber: Subscriber, feed: Feed) {
    this.number = number
    this.#subscriber = subscriber
    this.#feed = feed
    this.#state = behindAt(feed, feed.topic.timeline.offset, { liveSent: false })
    feed.subscriptions.add(this)
  }

  get feed(): Feed {
    return this.#feed
  }

  get state(): SubscriptionState {
    return this.#state
  }

  get inStep(): boolean {
    return this.#state.kind === 'inStep'
  }

  /** Whether a part of its replay is still due. */
  get isReplaying(): boolean {
    const state = this.#state
    return state.kind !== 'inStep' && coreOf(state).kind === 'replaying'
  }

  /** The position from which the client can resume; undefined if it has to join afresh. */
  get resumption(): Position | undefined {
    const state = this.#state
    const { epoch } = this.#feed.topic.timeline
    if (state.kind === 'inStep') return { epoch, offset: this.#feed.flushed }
    if (state.kind === 'joining' && state.beginning !== undefined) return state.beginning.from
    const { position: offset } = behindOf(state)
    if (state.kind === 'snapshot' && state.of !== undefined) {
      const join = state.parts.progress(state.of)
      return join === undefined ? undefined : { epoch, offset, join }
    }
    const core = coreOf(state)
    return core.kind === 'behind' ? { epoch, offset } : { epoch, offset, join: `r${sentOf(core)}` }
  }

  /** Everything up to here has been matched, and sent if it matched. */
  get reached(): Offset {
    const state = this.#state
    return state.kind === 'inStep' ? this.#feed.flushed : behindOf(state).position
  }

  /** The position that the client knows of. */
  get clientPosition(): Offset {
    const state = this.#state
    if (state.kind !== 'inStep') return behindOf(state).position
    const { sent } = this.#feed
    return sent > state.position ? sent : state.position
  }

  /** There is no room for the answer. @param beginning absent if it continues with another filter */
  await(beginning: Beginning | undefined): void {
    if (this.#state.kind !== 'inStep') this.#state = { kind: 'joining', beginning, next: coreOf(this.#state) }
  }

  /** It is being answered. @returns its beginning, if it was waiting */
  answered(): Beginning | undefined {
    const state = this.#state
    if (state.kind !== 'joining') return undefined
    this.#state = state.next
    return state.beginning
  }

  /** A snapshot is sent in parts, before anything else. @param of the kind of an interrupted join in a cursor */
  send(parts: SnapshotParts, of: 's' | 'g' | undefined): void {
    if (this.#state.kind === 'inStep' || parts.done) return
    this.#state = { kind: 'snapshot', parts, of, next: coreOf(this.#state) }
  }

  /** The whole snapshot was sent. */
  snapshotSent(): void {
    if (this.#state.kind === 'snapshot') this.#state = this.#state.next
  }

  /** Begins at the session's offset. */
  beginAfresh(): void {
    const { offset } = this.#feed.topic.timeline
    this.#state = behindAt(this.#feed, offset, { liveSent: false })
    this.#beginSilence(offset)
  }

  /** Resumes from a position. @param gapTold the newest loss that the answer tells of */
  resume(position: Offset, gapTold: Offset): void {
    this.#state = {
      ...behindAt(this.#feed, position, { liveSent: false }),
      // With many topics on one link the cursor is sent only at the end of a flush, and the link may break before.
      oneByOne: this.link.codec.trailer !== undefined || this.link.codec.oneByOne === true,
      gapTold,
      droppedBefore: Number.POSITIVE_INFINITY,
    }
    this.#beginSilence(position)
  }

  /** Begins a replay, if there is one. @param after the part that was received before */
  begin(replay: Replay, after: Offset = start): void {
    if (this.#state.kind === 'inStep') return
    const afterwards = behindOf(this.#state)
    const { stored } = replay
    if (stored === undefined) this.#state = replayHeld(replay, after, afterwards)
    else this.#state = replayStored(replay, stored.after, afterwards)
  }

  /** A part of a replay was sent, or a page of it has come: this is what follows. */
  proceed(next: Replaying): void {
    if (next.from === 'memory') {
      this.#state = next.next < next.page.entries.length ? next : next.afterwards
      return
    }
    const { replay, frames, afterwards } = next
    if (frames === undefined || next.next < frames.list.length) this.#state = next
    else if (replay.stored !== undefined && frames.last < replay.stored.until)
      this.#state = replayStored(replay, frames.last, afterwards)
    else this.#state = replayHeld(replay, frames.last, afterwards)
  }

  /** The store is asked for what comes next. */
  read(next: Replaying | Behind): void {
    this.#state = { kind: 'reading', next }
  }

  /** The store has answered. @returns whether it is an answer to what is meant to come next */
  haveRead(nextState: Replaying | Behind): boolean {
    if (this.#state.kind !== 'reading') return false
    this.#state = this.#state.next
    return this.#state === nextState
  }

  /** Everything up to an offset has been matched, and the client told so unless it is to be told later. */
  advance(position: Offset, clientPosition = position): void {
    this.#change({ position, clientPosition })
  }

  /** The client was told of a loss, and of how much was dropped so far. */
  tellGap(gapTold: Offset, droppedBefore: number): void {
    this.#change({ gapTold, droppedBefore })
  }

  /** All that was due on join or resume has been sent: the client knows its position. */
  markLive(): void {
    this.#change({
      liveSent: true,
      oneByOne: this.link.codec.oneByOne === true,
      clientPosition: this.reached,
    })
  }

  /** A snapshot of state is sent. */
  markSnapshot(): void {
    this.#change({ snapshotAt: this.#feed.topic.timeline.offset })
  }

  /** It has got everything: from now on the feed gives it what comes. */
  join(): void {
    this.#state = this.#feed.join(this)
  }

  /** Its connection has no room for more. */
  fallBehind(): void {
    const position = this.clientPosition
    this.#leaveStep()
    const oneByOne = this.link.codec.oneByOne === true
    this.#state = { ...behindAt(this.#feed, position, { liveSent: true }), oneByOne }
  }

  /** Goes on through another feed of the topic, or anew through its own, from where it is. */
  follow(feed: Feed): void {
    const position = this.clientPosition
    this.#heedSilence(feed, position)
    const state = this.#state
    const before = this.#feed
    this.#leaveStep()
    if (feed !== before) {
      before.subscriptions.delete(this)
      feed.subscriptions.add(this)
      this.#feed = feed
    }
    if (state.kind === 'inStep') {
      this.#state = behindAt(feed, position, { liveSent: false })
    } else if (feed === before) {
      this.#change({ liveSent: false })
    } else {
      const next = retained(coreOf(state), { ...behindOf(state), liveSent: false }, feed)
      // A snapshot that was on its way is followed by another one, a page that was asked for is asked for again.
      this.#state = state.kind === 'reading' || state.kind === 'joining' ? { ...state, next } : next
    }
  }

  /** @returns what it has passed over while it was silent; told once */
  takeSkipped(): GapNotice | undefined {
    const skipped = this.#skipped
    this.#skipped = undefined
    return skipped
  }

  /** It begins here. What it passes over of what follows is told once it is silent no more. */
  #beginSilence(position: Offset): void {
    this.#silentFrom = this.#feed.filter.silent ? position : undefined
  }

  /** While it is silent its position may move on, by what is forced or because it was behind: that is told afterwards. */
  #heedSilence({ topic, filter }: Feed, position: Offset): void {
    if (filter.silent) {
      this.#silentFrom ??= position
      return
    }
    const after = this.#silentFrom
    this.#silentFrom = undefined
    if (after === undefined || position <= after) return
    let page = topic.read(after, filter, 1)
    while (page.entries.length === 0 && page.last < position) page = topic.read(page.last, filter, 1)
    const first = page.entries[0]
    const isLost = topic.isInStore(after, filter) || topic.lossAfter(after, filter).droppable > 0
    if (!isLost && (first === undefined || first.offset > position)) return
    this.#skipped = { reason: 'lagging', after, offset: position }
  }

  /** Leaves its feed for good. */
  leave(): void {
    this.#leaveStep()
    this.#feed.subscriptions.delete(this)
  }

  rewind(position: Offset): void {
    if (this.#state.kind !== 'behind' || this.#state.position <= position) return
    // What was evicted of it since is a loss that nobody was told of.
    this.#change({ position, clientPosition: position, gapTold: position })
  }

  /** Its connection has got a second subscription, or has lost it. */
  relink(): void {
    if (this.#state.kind === 'inStep') this.#feed.relink(this.#state)
  }

  get link(): Link {
    return this.#subscriber.link
  }

  get subject(): string | undefined {
    return this.#subscriber.subject
  }

  get directLink(): Link | undefined {
    return this.#subscriber.directLink
  }

  get queue(): BatchQueue {
    return this.#subscriber.queue
  }

  markFull(): void {
    this.#subscriber.markFull()
  }

  postpone(): void {
    this.#subscriber.postpone(this)
  }

  fail(error: unknown): void {
    this.#subscriber.fail(error)
  }

  remove(reason: string): void {
    this.#subscriber.unsubscribe(this, 'removed', reason)
  }

  comeBack(reason: string): void {
    this.#subscriber.comeBack(reason)
  }

  /** What is due cannot be read in the store. */
  endDamaged(reason: string): void {
    this.#subscriber.unsubscribe(this, 'damaged', reason)
  }

  endIfDone(): void {
    this.#subscriber.endIfDone()
  }

  #leaveStep(): void {
    if (this.#state.kind !== 'inStep') return
    const { events, bytes } = this.#feed.leave(this.#state)
    this.#subscriber.count(events, bytes)
  }

  #change(changed: Partial<Omit<Behind, 'kind'>>): void {
    if (this.#state.kind !== 'inStep') Object.assign(behindOf(this.#state), changed)
  }
}

type OutOfStep = Exclude<SubscriptionState, Membership>

function behindAt(feed: Feed, position: Offset, { liveSent }: Pick<Behind, 'liveSent'>): Behind {
  return {
    kind: 'behind',
    position,
    clientPosition: position,
    liveSent,
    oneByOne: false,
    gapTold: position,
    droppedBefore: feed.topic.droppableTotal,
    snapshotAt: start,
  }
}

function behindOf(state: OutOfStep): Behind {
  switch (state.kind) {
    case 'behind':
      return state
    case 'replaying':
      return state.afterwards
    case 'joining':
    case 'snapshot':
    case 'reading':
      return behindOf(state.next)
  }
}

function coreOf(state: OutOfStep): Replaying | Behind {
  return state.kind === 'behind' || state.kind === 'replaying' ? state : state.next
}

/** @returns up to where a replay has been sent */
function sentOf(state: Replaying): Offset {
  const last =
    state.from === 'store'
      ? state.frames?.list[state.next - 1]?.last
      : state.page.entries[state.next - 1]?.offset
  return last !== undefined && last > state.after ? last : state.after
}

function replayStored(replay: Replay, after: Offset, afterwards: Behind): Replaying {
  return { kind: 'replaying', from: 'store', replay, after, frames: undefined, next: 0, afterwards }
}

function replayHeld(replay: Replay, after: Offset, afterwards: Behind): Replaying | Behind {
  const page = replay.held(after)
  if (page.entries.length === 0) return afterwards
  return { kind: 'replaying', from: 'memory', page, after, next: 0, afterwards }
}

/** @returns the state with what a new filter accepts of a replay under way, and `afterwards` after it */
function retained(state: Replaying | Behind, afterwards: Behind, { filter }: Feed): Replaying | Behind {
  if (state.kind === 'behind') return afterwards
  const accepts = (entry: Entry): boolean => filter.accepts(entry)
  switch (state.from) {
    case 'store':
      return replayStored(state.replay.filtered(accepts), sentOf(state), afterwards)
    case 'memory': {
      const left = state.page.entries.slice(state.next).filter(accepts)
      return replayHeld(new Replay(left), sentOf(state), afterwards)
    }
  }
}
