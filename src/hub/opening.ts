import { readCursor } from '../protocol/cursor.js'
import type { Limits } from '../protocol/limits.js'
import { type TopicName, topicNameOf } from '../protocol/topic.js'
import type { Sessions, Wanted } from '../sessions/sessions.js'

/** A topic to follow. */
export interface WantedTopic {
  readonly topic: string | TopicName
  /** The cursor to resume from. */
  readonly after?: string | undefined
}

type Opening = Pick<Sessions, 'followed' | 'open' | 'logLists'>

/** @returns once the sessions of all topics are in memory; undefined if there is nothing to wait for */
export function openTopics(
  sessions: Opening,
  topics: readonly WantedTopic[],
  limits: Limits,
): Promise<void> | undefined {
  const { followed } = sessions
  if (followed === undefined) return undefined
  const wanted: Wanted[] = []
  let areReady = true
  let lists: Promise<void> | undefined
  for (const { topic, after } of topics) {
    const name = topicNameOf(topic, 'topic', limits)
    if (name.kind === 'hub') {
      lists ??= sessions.logLists?.read()
      continue
    }
    const position = after === undefined ? undefined : readCursor(after)
    wanted.push({ id: name.session, position })
    areReady &&= followed.isReady(name.session, position)
  }
  const opening = areReady ? undefined : sessions.open(wanted)
  // Without the log the list shows what this hub has in memory.
  return lists === undefined ? opening : Promise.allSettled([lists]).then(() => opening)
}

/** @returns once the session of the topic is as far as the log is now; undefined if there is nothing to wait for */
export function catchUpTopic(
  sessions: Opening,
  topic: string | TopicName,
  limits: Limits,
): Promise<void> | undefined {
  if (sessions.followed === undefined) return undefined
  const name = topicNameOf(topic, 'topic', limits)
  if (name.kind === 'hub') return sessions.logLists?.read()
  return sessions.open([{ id: name.session, fresh: true }])
}
