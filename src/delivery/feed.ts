import type { Codec } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Filter } from '../session/filter.js'
import type { ReplayScope } from '../session/replayed.js'
import type { Topic } from '../session/topic.js'
import type { Member, Membership } from './member.js'
import { Members } from './members.js'
import { Replay } from './replay.js'

const none: readonly Members[] = []

/** A topic seen through one filter: matched, batched and encoded once, shared by its subscriptions. */
export class Feed {
  /** Names the feed in `events`; unique in the hub. */
  readonly number: number
  readonly topic: Topic
  readonly filter: Filter
  /** Its subscriptions, in step or not; the feed is removed with the last one. */
  readonly subscriptions = new Set<Member>()
  /** The members in step if all speak one codec; absent if none is, or there are several. */
  #only: Members | undefined = undefined
  #several: readonly Members[] = none
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

  /** The members in step, which have received everything up to `flushed`, if all of them speak one codec. */
  get only(): Members | undefined {
    return this.#only
  }

  /** The members in step, by codec. */
  get members(): readonly Members[] {
    return this.#only === undefined ? this.#several : [this.#only]
  }

  get inStep(): boolean {
    return this.#only !== undefined || this.#several.length > 0
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
    let members = this.#of(codec)
    if (members === undefined) this.#setMembers([...this.members, (members = new Members(codec))])
    return members.add(member, offset)
  }

  /** @returns the totals that the member was sent since it joined */
  leave(membership: Membership): { readonly events: number; readonly bytes: number } {
    const members = this.#of(membership.member.link.codec) as Members
    const sent = members.delete(membership)
    if (members.size === 0) this.#setMembers(this.members.filter((each) => each !== members))
    return sent
  }

  /** Its connection got a second subscription, or lost it. */
  relink(membership: Membership): void {
    this.#of(membership.member.link.codec)?.relink(membership)
  }

  #of(codec: Codec): Members | undefined {
    if (this.#only !== undefined) return this.#only.codec === codec ? this.#only : undefined
    return this.#several.find((candidate) => candidate.codec === codec)
  }

  // Most feeds have one codec, and an array is two more places to look up.
  #setMembers(members: readonly Members[]): void {
    this.#only = members.length === 1 ? members[0] : undefined
    this.#several = members.length > 1 ? members : none
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
