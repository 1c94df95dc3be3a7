import type { Codec } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Link } from './link.js'
import type { BatchQueue, Member, Membership } from './member.js'

/**
 * What takes the batches of each member, followed by its membership, in no order. With ten thousand sessions nothing is in the
 * processor's caches, so both stand in one array, and a delivery looks up neither a membership nor a subscription.
 */
type Takers<Taker> = (Taker | Membership)[]

// Most feeds have a few members.
const smallLength = 16

// Lists are made with `concat`, whose result has no spare room. `push`, and a spread before another item, make room for 17.
const nothing: never[] = []

/** @returns the list with one more member: itself, or a copy while it is small */
function withOne<Taker>(takers: Takers<Taker>, taker: Taker, membership: Membership): Takers<Taker> {
  membership.index = takers.length
  if (takers.length < smallLength) return takers.concat([taker, membership])
  takers.push(taker, membership)
  return takers
}

/** The last member takes the place of the one that leaves. */
function remove<Taker>(takers: Takers<Taker>, index: number): void {
  const moved = takers.pop() as Membership
  const taker = takers.pop() as Taker
  if (moved.index === index) return
  takers[index] = taker
  takers[index + 1] = moved
  moved.index = index
}

/** The members in step with a feed whose links speak one codec. */
export class Members {
  readonly codec: Codec
  /** Links to which a flush may write at once. */
  direct: Takers<Link> = nothing
  /** Connections that may get more in the same flush, which leaves in one write. */
  queued: Takers<BatchQueue> = nothing
  /** The totals that every member has been sent since the first joined. */
  events = 0
  bytes = 0

  constructor(codec: Codec) {
    this.codec = codec
  }

  get size(): number {
    return (this.direct.length + this.queued.length) / 2
  }

  /** @param position the offset of its session */
  add(member: Member, position: Offset): Membership {
    const membership: Membership = {
      kind: 'inStep',
      member,
      position,
      index: 0,
      eventsBefore: this.events,
      bytesBefore: this.bytes,
    }
    this.#add(membership)
    return membership
  }

  /** @returns the totals that the member was sent since it joined */
  delete(membership: Membership): { readonly events: number; readonly bytes: number } {
    this.#delete(membership)
    const { eventsBefore, bytesBefore } = membership
    return { events: this.events - eventsBefore, bytes: this.bytes - bytesBefore }
  }

  /** Its connection got a second subscription, or lost it. */
  relink(membership: Membership): void {
    this.#delete(membership)
    this.#add(membership)
  }

  /** @returns all members, a copy */
  list(): Member[] {
    const list: Member[] = []
    for (const takers of [this.direct, this.queued])
      for (let i = 1; i < takers.length; i += 2) list.push((takers[i] as Membership).member)
    return list
  }

  #add(membership: Membership): void {
    const { directLink, queue } = membership.member
    if (directLink === undefined) this.queued = withOne(this.queued, queue, membership)
    else this.direct = withOne(this.direct, directLink, membership)
  }

  #delete(membership: Membership): void {
    const { index } = membership
    if (this.direct[index + 1] === membership) remove(this.direct, index)
    else remove(this.queued, index)
  }
}
