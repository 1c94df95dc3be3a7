import type { ClientFrame, HubFrame, Welcome } from '../protocol/frames.js'
import type { Link, LinkFrame } from './link.js'

/** A member of a shared connection. */
export interface Member {
  frame(frame: LinkFrame): void
}

interface Shared {
  readonly member: Member
  /** The member's own number or mark. */
  readonly number: number | string | undefined
  feed?: number
}

/**
 * Lets several members use one connection as if each had its own. It translates subscription numbers and marks of requests to
 * those of the connection, and passes each frame of the hub to its member. It knows frames, not tabs.
 */
export class Relay {
  readonly #link: Link
  #welcome: Welcome | undefined
  /** The connection's number of each subscription, by member. */
  readonly #members = new Map<Member, Map<number, number>>()
  readonly #subs = new Map<number, Shared>()
  readonly #feeds = new Map<number, Member>()
  readonly #refs = new Map<number, Shared>()
  #numbers = 0

  constructor(link: Link) {
    this.#link = link
  }

  get transport(): Link['transport'] {
    return this.#link.transport
  }

  add(member: Member): void {
    this.#members.set(member, new Map())
    if (this.#welcome !== undefined) member.frame(this.#welcome)
  }

  /** The member has left: it gets nothing more. */
  remove(member: Member): void {
    const subs = this.#members.get(member)
    if (subs === undefined) return
    this.#members.delete(member)
    for (const sub of subs.values()) this.#forget(sub)
    this.#link.send([...subs.values()].map((sub) => ({ type: 'unsubscribe', sub })))
  }

  /** Sends a member's frames. */
  send(member: Member, frames: readonly ClientFrame[]): void {
    const subs = this.#members.get(member)
    if (subs === undefined) return
    const isFirst = this.#members.keys().next().value === member
    // The connection has the token of the first member, and keeps it.
    const sent = frames.filter(({ type }) => type !== 'authorize' || isFirst)
    this.#link.send(sent.map((frame) => this.#outgoing(frame, member, subs)))
  }

  /** Passes a frame of the hub to its member. */
  frame(frame: LinkFrame): void {
    switch (frame.type) {
      case 'welcome':
        this.#welcome = frame
        return this.#toAll(frame)
      case 'closing':
      case 'unread':
        return this.#toAll(frame)
      case 'authorized':
        // The token is that of the first member.
        return this.#members.keys().next().value?.frame(frame)
      case 'events':
        return this.#feeds.get(frame.feed)?.frame(frame)
      case 'subscribed':
      case 'part':
      case 'live':
      case 'gap':
      case 'unsubscribed':
        return this.#toSubscriber(frame)
      case 'published':
      case 'leased':
      case 'updated':
      case 'pong':
        return this.#toAsker(frame)
      case 'error':
        return frame.sub === undefined
          ? this.#toAsker(frame)
          : this.#toSubscriber({ ...frame, sub: frame.sub })
    }
  }

  #toAll(frame: LinkFrame): void {
    for (const member of this.#members.keys()) member.frame(frame)
  }

  #outgoing(frame: ClientFrame, member: Member, subs: Map<number, number>): ClientFrame {
    switch (frame.type) {
      case 'subscribe': {
        this.#numbers += 1
        subs.set(frame.sub, this.#numbers)
        this.#subs.set(this.#numbers, { member, number: frame.sub })
        return { ...frame, sub: this.#numbers }
      }
      case 'update':
      case 'unsubscribe':
        // An unknown number becomes 0, which no subscription has.
        return { ...frame, sub: subs.get(frame.sub) ?? 0 }
      case 'authorize':
        return frame
      case 'publish':
      case 'lease':
      case 'set':
      case 'patch':
      case 'merge':
      case 'ping':
        this.#numbers += 1
        this.#refs.set(this.#numbers, { member, number: frame.ref })
        return { ...frame, ref: this.#numbers }
    }
  }

  #toSubscriber(frame: Extract<HubFrame, { readonly sub?: number }> & { readonly sub: number }): void {
    const shared = this.#subs.get(frame.sub)
    if (shared === undefined) return
    if (frame.type === 'subscribed') {
      if (shared.feed !== undefined) this.#feeds.delete(shared.feed)
      shared.feed = frame.feed
      this.#feeds.set(frame.feed, shared.member)
    } else if (frame.type === 'unsubscribed' || (frame.type === 'error' && shared.feed === undefined)) {
      this.#forget(frame.sub)
    }
    shared.member.frame({ ...frame, sub: shared.number as number })
  }

  #toAsker(frame: Extract<HubFrame, { readonly ref?: unknown }>): void {
    const shared = this.#refs.get(frame.ref as number)
    if (shared === undefined) return
    this.#refs.delete(frame.ref as number)
    const { ref: _, ...answer } = frame
    const marked = shared.number === undefined ? answer : { ...answer, ref: shared.number }
    if (this.#members.has(shared.member)) shared.member.frame(marked)
  }

  #forget(sub: number): void {
    const shared = this.#subs.get(sub)
    if (shared === undefined) return
    this.#subs.delete(sub)
    this.#members.get(shared.member)?.delete(shared.number as number)
    if (shared.feed !== undefined) this.#feeds.delete(shared.feed)
  }
}
