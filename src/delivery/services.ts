import type { Clock } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { Limits } from '../protocol/limits.js'
import type { Permissions } from '../protocol/permissions.js'
import type { TopicName } from '../protocol/topic.js'
import type { Filter } from '../session/filter.js'
import type { Topic } from '../session/topic.js'
import type { FindWindow, ReadStored } from '../sessions/stored/read-stored.js'
import type { DeliveryCounts } from './counts.js'
import type { Feeds } from './feeds.js'
import type { Flush } from './flush.js'
import type { Pace } from './pace.js'
import type { Presence } from './presence.js'
import type { StoredReplays } from './stored-replays.js'

/** The part of the sessions that delivery needs. */
export interface Topics {
  /**
   * @param permissions decide what the topic `hub` shows
   * @returns the topic, created as a placeholder if its session or worker does not exist yet
   */
  topicToFollow(name: TopicName, permissions: Permissions): Topic
  /** A topic has lost a subscription: placeholders that are not followed are removed. */
  mayForget(topic: Topic): void
  /**
   * A subscription that may include commands has begun.
   *
   * @param after commands up to here were not sent to it
   */
  deliver(topic: Topic, filter: Filter, after: Offset): void
  /** Sets the slice `$watchers`, or removes it. @returns whether the topic has begun */
  setWatchers(topic: Topic, watchers: JsonObject | undefined): boolean
  readonly readStored: ReadStored
  readonly findWindow: FindWindow
}

/** The part of the hub that a connection needs. */
export interface Services extends Topics {
  readonly limits: Limits
  readonly clock: Clock
  readonly counts: DeliveryCounts
  readonly feeds: Feeds
  readonly flush: Flush
  readonly pace: Pace
  readonly presence: Pick<Presence, 'changed'>
  readonly storedReplays: StoredReplays
  /** Counts and reports an error of the hub itself, which costs one connection. */
  reportFault(error: unknown, connection: string): void
  /** The connection with that id has closed, and must leave its feeds. */
  left(connection: string): void
}

/** Flushes the topic's session, and updates the reserved slices of the filter. */
export function bringUpToDate(
  { flush, clock }: Pick<Services, 'flush' | 'clock'>,
  topic: Topic,
  filter: Filter,
): void {
  const { timeline } = topic
  if (filter.watches) timeline.refresh(clock.now())
  flush.flush(timeline)
}
