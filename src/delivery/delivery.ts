import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { Limits } from '../protocol/limits.js'
import type { Filter } from '../session/filter.js'
import type { Session } from '../session/session.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import type { Tracing } from '../session/tracing.js'
import { Connection, type ConnectionOptions } from './connection.js'
import { DeliveryCounts } from './counts.js'
import type { Feed } from './feed.js'
import { Feeds } from './feeds.js'
import { Flush } from './flush.js'
import type { Link } from './link.js'
import { LogPresence, type SharedPresence } from './log-presence.js'
import type { Member } from './member.js'
import { Pace } from './pace.js'
import { Presence } from './presence.js'
import { bringUpToDate, type Services, type Topics } from './services.js'
import { StoredReplays } from './stored-replays.js'
import type { Followed } from './topic-feeds.js'

export interface DeliveryOptions {
  readonly clock: Clock
  readonly random: Random
  readonly limits: Limits
  readonly tracing: Tracing | undefined
  readonly topics: Topics
  /** Present over a log. */
  readonly presence: SharedPresence | undefined
  /** Called with every error of the hub itself that cost one connection. */
  readonly report: (error: unknown, connection: string) => void
}

/** The subscriptions of a session. */
export interface SubscriptionCounts {
  /** Subscriptions to the session and its workers. */
  readonly subscriptions: number
  /** Those of them that are catching up from history. */
  readonly lagging: number
}

/** The connections of a hub, and the delivery of events to them. */
export class Delivery {
  readonly counts = new DeliveryCounts()
  readonly feeds: Feeds
  readonly flush: Flush
  readonly #services: Services
  readonly #random: Random
  readonly #connections = new Map<string, Connection>()
  /** Connections that closed during a walk over feeds. */
  readonly #leaving: Connection[] = []

  constructor({ clock, random, limits, tracing, topics, presence, report }: DeliveryOptions) {
    const { counts } = this
    const setWatchers: Topics['setWatchers'] = (topic, watchers) => topics.setWatchers(topic, watchers)
    this.#random = random
    this.feeds = new Feeds(clock, limits.topicFeedsMax)
    this.flush = new Flush({
      clock,
      tracing,
      counts,
      feeds: this.feeds,
      pendingEventsMax: limits.pendingEventsMax,
      after: (flushed) => this.#afterFlush(flushed),
    })
    this.#services = {
      topicToFollow: (name, permissions) => topics.topicToFollow(name, permissions),
      mayForget: (topic) => topics.mayForget(topic),
      deliver: (topic, filter, after) => topics.deliver(topic, filter, after),
      setWatchers,
      presence:
        presence === undefined
          ? new Presence({ clock, feeds: this.feeds, setWatchers })
          : new LogPresence(clock, this.feeds, presence),
      readStored: topics.readStored,
      findWindow: topics.findWindow,
      limits,
      clock,
      counts,
      feeds: this.feeds,
      flush: this.flush,
      pace: new Pace(clock),
      storedReplays: new StoredReplays({
        clock,
        counts,
        readStored: topics.readStored,
        findWindow: topics.findWindow,
      }),
      reportFault(error, connection) {
        counts.faults++
        report(error, connection)
      },
      left: (id) => this.#left(id),
    }
  }

  /** Adds an open link; its transport notifies the connection when it drains and when it has closed. */
  connect(link: Link, options: ConnectionOptions): Connection {
    const connection = new Connection(this.#random.id(), this.#services, link, options)
    this.#connections.set(connection.id, connection)
    const { heartbeatMs, frameBytesMax, subscriptionsMax, filterTypesMax } = this.#services.limits
    const limits = { frameBytesMax, subscriptionsMax, filterTypesMax }
    connection.say({ type: 'welcome', connection: connection.id, version: 1, heartbeatMs, limits })
    return connection
  }

  get connections(): ReadonlyMap<string, Connection> {
    return this.#connections
  }

  /** Flushes the topic's session, and updates the reserved slices of the filter. */
  bringUpToDate(topic: Topic, filter: Filter): void {
    bringUpToDate(this.#services, topic, filter)
  }

  /** A hub of the log has counted watchers of a session anew. */
  watchersChanged(session: Session): void {
    this.#services.presence.changed(session.topic)
  }

  /** A session is being removed: its subscriptions end. */
  removed(session: Session): void {
    this.flush.flush(session)
    for (const member of membersOf(this.feeds.followed(session))) {
      member.remove(`session ${session.id} was removed`)
    }
  }

  /** The hub's copy of a session is no longer valid: connections that follow it are closed, and resume with their cursors. */
  stale(session: Session): void {
    for (const member of membersOf(this.feeds.followed(session))) {
      member.comeBack(`what the hub had of session ${session.id} is out of date`)
    }
  }

  /** @returns the numbers of subscriptions of a session */
  countSubscriptions(timeline: Timeline): SubscriptionCounts {
    let subscriptions = 0
    let inStep = 0
    for (const feed of feedsOf(this.feeds.followed(timeline))) {
      subscriptions += feed.subscriptions.size
      for (const { size } of feed.members) inStep += size
    }
    return { subscriptions, lagging: subscriptions - inStep }
  }

  #left(id: string): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#connections.delete(id)
    if (this.flush.busy) this.#leaving.push(connection)
    else connection.leaveAll()
  }

  #afterFlush(flushed: readonly Followed[]): void {
    for (const connection of this.#leaving.splice(0)) connection.leaveAll()
    for (const followed of flushed) {
      if (followed.timeline.status !== 'ended') continue
      for (const member of membersOf(followed)) member.endIfDone()
    }
  }
}

/** The current feeds of a followed timeline. */
function feedsOf(followed: Followed | undefined): Feed[] {
  return followed === undefined ? [] : followed.topics.flatMap(({ feeds }) => [...feeds])
}

/** The current subscriptions of a followed timeline, as a copy, because they may leave during the walk. */
function membersOf(followed: Followed | undefined): Member[] {
  return feedsOf(followed).flatMap(({ subscriptions }) => [...subscriptions])
}
