import type { JsonObject } from '../lib/json.js'
import { type Cursor, formatCursor, formatPosition, type Offset, type Position } from '../protocol/cursor.js'
import type {
  Events,
  Gap,
  HubEvent,
  Live,
  Part,
  PatchOperation,
  Slices,
  StateUpdate,
  Subscribe,
  Subscribed,
  Unsubscribed,
} from '../protocol/frames.js'
import { emptyMirror, StateMirror } from '../state/mirror.js'
import { Assembly } from './assembly.js'
import { type Joining, progressOf } from './joining.js'
import type { Interest, Loss, StateChange, ViewEvents } from './view-events.js'

/** Maximum of updates kept while a snapshot is requested; beyond it the snapshot is requested again. */
const heldMax = 10_000

/**
 * One subscription in the client: its position, the expected next frame, and the mirror of the state. It knows frames, not
 * links, and survives links.
 */
export class View {
  interest: Interest
  /** Its number on the current link; a new one for each `subscribe`. */
  sub = 0
  feed: number | undefined
  /** Whether everything due has been received over the current link. */
  isLive = false
  /**
   * A type that no event has. It makes the filter different from that of another subscription of the connection, because frames
   * name their feed and the hub refuses two subscriptions to the same one.
   */
  apart: string | undefined
  #asked: Interest | undefined
  #mirror: StateMirror = emptyMirror
  readonly #events: ViewEvents
  #position: Position | undefined
  #joining: Joining | undefined
  /** The snapshot in parts on this link. */
  #assembly: Assembly | undefined
  /** After a gap, frames may begin up to here although the view's position is lower. */
  #excused = 0
  /** A frame has continued exactly at the view's position; from then on all frames do. */
  #inStep = false
  /** Unreadable data has arrived, possibly a part of this subscription. */
  #unread = false
  /** The mirror may be incomplete, so a snapshot is needed. */
  #stale: boolean
  #askedFor = false
  /** Updates received meanwhile: some are in the snapshot, the others are applied to it. */
  #held: HubEvent[] = []

  constructor(interest: Interest, after: Position | undefined, events: ViewEvents) {
    this.interest = interest
    this.#position = after
    // The hub sends no snapshot on resume.
    this.#stale = after !== undefined && interest.slices !== undefined
    this.#events = events
  }

  get state(): JsonObject {
    return this.#mirror.slices
  }

  get position(): Cursor | undefined {
    return this.#position && formatCursor(this.#position.epoch, this.#position.offset)
  }

  /** The cursor to resume from, with the progress of an interrupted join. */
  get after(): Cursor | undefined {
    if (this.#joining === undefined) return this.position
    const join = progressOf(this.#joining)
    return join === undefined ? this.position : formatPosition({ ...this.#joining.position, join })
  }

  /** The `types` to send. */
  get types(): readonly string[] | undefined {
    const { types } = this.interest
    // An empty list selects nothing; a list of exclusions starts from all types.
    return this.apart === undefined
      ? types
      : [...(types ?? []), types?.length === 0 ? this.apart : `!${this.apart}`]
  }

  /** Whether the last request still matches the interest. */
  get isAsked(): boolean {
    return this.#asked === this.interest
  }

  /** @returns the frame that requests everything after the position, on any link */
  subscribe(sub: number): Subscribe {
    this.sub = sub
    this.lost()
    if (!this.isAsked) this.#joining = undefined
    this.#asked = this.interest
    const { types, after } = this
    const { topic, mode, slices, replay, last, since } = this.interest
    return {
      type: 'subscribe',
      sub,
      topic,
      ...(types && { types }),
      ...(mode && { mode }),
      ...(slices && { slices }),
      ...(after !== undefined && { after }),
      ...(replay !== undefined && { replay }),
      ...(last !== undefined && { last }),
      ...(since !== undefined && { since }),
    }
  }

  /** The link is lost; the position and the received part of a join are kept. */
  lost(): void {
    this.feed = undefined
    this.isLive = false
    this.#assembly = undefined
    this.#inStep = false
    // The received part of a join is kept, and so is the mark that a part of it may be missing.
    this.#unread &&= this.#joining !== undefined
    this.#askedFor = false
    // Held updates are before the position, so they are not sent again.
    if (this.#held.length > 0) this.#stale = true
    this.#held = []
    this.#excused = 0
  }

  /** Other slices are requested than the mirror has. */
  slicesChanged(): void {
    this.#stale = true
    if (this.feed !== undefined) this.#askAnew()
  }

  subscribed({ feed, epoch, offset, resumed, slices, parts, gap }: Subscribed): void {
    this.feed = feed
    const position = { epoch, offset }
    const known = this.#position
    const begun = this.#joining
    const isSame = begun?.position.epoch === epoch && begun.position.offset === offset
    if (begun !== undefined && isSame && (resumed || (gap && begun.gap) !== undefined)) {
      // The rest of an interrupted join.
      this.#joining = { ...begun, gap: gap ?? begun.gap }
      if (parts !== undefined && begun.assembly !== undefined) this.#assemble(begun.assembly, parts)
      return
    }
    const assembly = parts === undefined ? undefined : new Assembly()
    const goesOn = resumed && known !== undefined && known.epoch === epoch
    if (!goesOn) this.#joining = { position, gap, replayed: [], assembly }
    else {
      this.#joining = undefined
      this.#moveTo(offset)
      if (gap !== undefined) this.#gapped(gap)
    }
    this.#inStep = false
    // Only with a fresh join is the snapshot the state at `offset`. After a gap, or with a changed filter, it is the current
    // state, while updates after `offset` still follow: a patch might be applied to a value that already contains it.
    if (gap !== undefined || (resumed && slices !== undefined)) this.#doubt()
    if (slices !== undefined && !resumed && gap === undefined) this.snapshot(slices, offset)
    else if (assembly !== undefined) this.#assemble(assembly, parts as number)
    else if (this.#stale) this.#freshen()
  }

  part(part: Part): void {
    this.#assembly?.take(part)
    this.#assembled()
  }

  events({ after, last, events }: Events): void {
    if (after === undefined || last === undefined) {
      for (const event of events) {
        if (this.#joining === undefined) this.#events.event(event, true)
        else this.#joining.replayed.push(event)
      }
      return
    }
    this.#join()
    const position = this.#position
    if (position === undefined || last <= position.offset) return
    if (after > position.offset && after > this.#excused) {
      if (!this.#unread) return this.#events.diverged()
      // Subscribing again would bring the same data again.
      this.#passOver(after)
    }
    this.#unread = false
    // A second subscription to the same feed is catching up. New events for this one come by themselves.
    if (after < position.offset && this.#inStep) return
    this.#inStep = true
    for (const event of events) {
      if (event.offset <= position.offset) continue
      // Moved with each event, so that `position` is right inside a listener.
      this.#moveTo(event.offset)
      if (event.type === 'state.update') this.#update(event)
      else this.#events.event(event, false)
    }
    this.#moveTo(last)
  }

  /** Unreadable data has arrived. */
  unread(): void {
    this.#unread = true
  }

  live({ offset }: Live): void {
    this.#join()
    if (this.#unread) this.#passOver(offset)
    // A part of the snapshot is missing.
    if (this.#assembly !== undefined) this.#freshen()
    this.#assembly = undefined
    this.#moveTo(offset)
    this.isLive = true
    this.#events.live()
  }

  gap({ reason, after, offset, dropped, parts }: Gap): void {
    this.#join()
    this.#gapped({ reason, after, offset, ...(dropped !== undefined && { dropped }) })
    this.#doubt()
    if (parts !== undefined) this.#assemble(new Assembly(), parts)
    else if (this.#stale) this.#freshen()
  }

  /** The state at `offset`, from a join or a request. */
  snapshot(slices: Slices, offset: Offset): void {
    const held = this.#held
    this.#held = []
    this.#stale = false
    this.#askedFor = false
    this.#mirror = StateMirror.of(slices, offset)
    this.#events.state(undefined)
    for (const event of held) this.#update(event)
  }

  ended({ code, reason }: Unsubscribed): void {
    this.#join()
    this.#events.ended(code, reason)
  }

  #join(): void {
    if (this.#joining === undefined) return
    const { position, gap, replayed } = this.#joining
    this.#joining = undefined
    this.#position = position
    if (gap !== undefined) this.#gapped(gap)
    for (const event of replayed) this.#events.event(event, true)
    if (this.#unread) this.#gapped({ reason: 'unreadable', after: 0 as Offset, offset: position.offset })
  }

  /** The events in between could not be read, so they are lost for this client. */
  #passOver(offset: Offset): void {
    this.#unread = false
    const after = this.#position?.offset
    if (after === undefined || offset <= after) return
    this.#gapped({ reason: 'unreadable', after, offset })
    this.#doubt()
    if (this.#stale) this.#freshen()
  }

  #gapped(gap: Loss): void {
    this.#excused = gap.offset
    this.#inStep = false
    this.#events.gap(gap)
  }

  #moveTo(offset: Offset): void {
    const position = this.#position
    if (position !== undefined && offset > position.offset) this.#position = { epoch: position.epoch, offset }
  }

  #update(event: HubEvent): void {
    if (this.interest.slices === undefined) return
    if (this.#stale) {
      this.#held.push(event)
      if (this.#held.length > heldMax) this.#askAnew()
      return
    }
    const all = this.interest.topic.endsWith('/**')
    const applied = this.#mirror.apply(event, all)
    if (applied.kind === 'mismatch') {
      this.#stale = true
      return this.#freshen()
    }
    if (applied.mirror === this.#mirror) return
    this.#mirror = applied.mirror
    this.#events.state(changeOf(event, all, this.#mirror.slices))
  }

  /** This many parts of a snapshot follow; until they have been received, updates are held back. */
  #assemble(assembly: Assembly, parts: number): void {
    if (this.#askedFor) return
    this.#doubt()
    assembly.left = parts
    this.#assembly = assembly
    this.#assembled()
  }

  #assembled(): void {
    if (this.#assembly?.left !== 0) return
    const { slices } = this.#assembly
    this.#assembly = undefined
    const { offset } = this.#joining?.position ?? this.#position ?? { offset: 0 as Offset }
    this.snapshot(slices, offset)
  }

  #doubt(): void {
    if (this.interest.slices !== undefined) this.#stale = true
  }

  #askAnew(): void {
    this.#askedFor = false
    this.#freshen()
  }

  #freshen(): void {
    if (this.#askedFor) return
    if (this.interest.slices === undefined) return this.snapshot({}, 0 as Offset)
    this.#askedFor = true
    this.#held = []
    this.#events.needsSnapshot()
  }
}

function changeOf({ offset, worker, data }: HubEvent, all: boolean, slices: Slices): StateChange {
  const { slice: name, patch, cause } = data as StateUpdate & { readonly patch?: readonly PatchOperation[] }
  const slice = all && worker !== undefined ? `workers/${worker}/${name}` : name
  const value = Object.hasOwn(slices, slice) ? slices[slice] : undefined
  return {
    slice,
    offset,
    ...(value !== undefined && { value }),
    ...(patch && { patch }),
    ...(cause && { cause }),
  }
}
