import type { Codec } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Filter } from '../session/filter.js'
import type { ReplayScope } from '../session/replayed.js'
import type { Topic } from '../session/topic.js'
import type { Link } from './link.js'
import type { Member, Membership } from './member.js'
import { Replay } from './replay.js'

/** The members in step with a feed whose links speak one codec. */
export interface Members {
  readonly codec: Codec
  /** Unordered; each member knows its index. */
  list: Membership[]
  /**
   * The link of each member to which a flush may write directly, if any. The kernel empties the caches between two writes, so a
   * delivery should look up little.
   */
  links: (Link | undefined)[]
  /** The totals that every member has been sent since the first joined. */
  events: number
  bytes: number
}

// Most feeds have a few members.
const smallLength = 8

// Lists are made with `concat`, whose result has no spare room. `push`, and a spread before another item, make room for 17.
const nothing: never[] = []

/** @returns the list with one more item: itself, or a copy while it is small */
function pushed<Item>(list: Item[], item: Item): Item[] {
  if (list.length < smallLength) return list.concat([item])
  list.push(item)
  return list
}

/** A topic seen through one filter: matched, batched and encoded once, shared by its subscriptions. */
export class Feed {
  /** Names the feed in `events`; unique in the hub. */
  readonly number: number
  readonly topic: Topic
  readonly filter: Filter
  /** Its subscriptions, in step or not; the feed is removed with the last one. */
  readonly subscriptions = new Set<Member>()
  /** The members in step, by codec, which have received everything up to `flushed`. */
  members: readonly Members[] = nothing
  #sent: Offset
  #flushed: Offset
  #replay: { readonly until: Offset; readonly scope: ReplayScope; readonly replay: Replay } | undefined

  constructor(number: number, topic: Topic, filter: Filter) {
    this.number = number
    this.topic = topic
    this.filter = filter
    this.#sent = topic.timeline.offset
    this.#flushed = topic.timeline.offset
  }

  /** `last` of the newest batch that was sent: `after` of the next one. */
  get sent(): Offset {
    return this.#sent
  }

  /** Everything up to here has been matched; at or after `sent`. */
  get flushed(): Offset {
    return this.#flushed
  }

  get inStep(): boolean {
    return this.members.length > 0
  }

  /** A batch that ends at this offset is about to be sent to the members. */
  markSent(last: Offset): void {
    this.#sent = last
    this.#flushed = last
  }

  /** Nothing up to this offset matched. */
  markFlushed(offset: Offset): void {
    this.#flushed = offset
  }

  /** @returns the membership of a member that has everything up to the session's offset, while nothing is pending */
  join(member: Member): Membership {
    const { codec } = member.link
    const { offset } = this.topic.timeline
    if (!this.inStep) this.markSent(offset)
    let members = this.members.find((candidate) => candidate.codec === codec)
    if (members === undefined) {
      members = { codec, list: nothing, links: nothing, events: 0, bytes: 0 }
      this.members = this.members.concat([members])
    }
    const { events: eventsBefore, bytes: bytesBefore } = members
    const index = members.list.length
    const membership: Membership = {
      kind: 'inStep',
      member,
      position: offset,
      index,
      eventsBefore,
      bytesBefore,
    }
    members.list = pushed(members.list, membership)
    members.links = pushed(members.links, member.directLink)
    return membership
  }

  /** @returns the totals that the member was sent since it joined */
  leave(membership: Membership): { readonly events: number; readonly bytes: number } {
    const at = this.#indexOf(membership)
    const members = this.members[at] as Members
    const { index, eventsBefore, bytesBefore } = membership
    const moved = members.list.pop() as Membership
    const movedLink = members.links.pop()
    if (moved !== membership) {
      members.list[index] = moved
      members.links[index] = movedLink
      moved.index = index
    }
    if (members.list.length === 0) this.members = this.members.filter((each) => each !== members)
    return { events: members.events - eventsBefore, bytes: members.bytes - bytesBefore }
  }

  /** Its connection got a second subscription, or lost it. */
  relink(membership: Membership): void {
    const members = this.members[this.#indexOf(membership)] as Members
    members.links[membership.index] = membership.member.directLink
  }

  #indexOf({ member }: Membership): number {
    return this.members.findIndex(({ codec }) => codec === member.link.codec)
  }

  /** @returns the replay of a fresh join; conflated once, and shared by all joins at the same offset */
  replay(scope: ReplayScope): Replay {
    const until = this.topic.timeline.offset
    if (this.#replay?.until !== until || !isSame(this.#replay.scope, scope)) {
      const { entries, stored } = this.topic.replay(this.filter, scope)
      this.#replay = { until, scope, replay: new Replay(entries, stored) }
    }
    return this.#replay.replay
  }

  /** @returns the rest of the replay for an interrupted join at `until` that has received everything up to `after` */
  restOfReplay(scope: ReplayScope | undefined, after: Offset, until: Offset): Replay {
    if (scope === undefined) return this.last().after(after)
    const { entries, stored } = this.topic.replay(this.filter, scope, { after, until })
    return new Replay(entries, stored)
  }

  /** @returns the part that every join gets even without a replay: the `complete` of an ended session */
  last(): Replay {
    const { completion } = this.topic.timeline
    return new Replay(completion === undefined ? [] : [completion])
  }

  /** The replay kept for joins is outdated. */
  forgetReplay(): void {
    this.#replay = undefined
  }
}

function isSame(one: ReplayScope, other: ReplayScope): boolean {
  const [a, b] = [one.window, other.window]
  return one.all === other.all && a?.last === b?.last && a?.since === b?.since
}
