'use client'
import { useCallback, useMemo } from 'react'
import type { SentCommand } from '../client/commands.js'
import type { Result } from '../client/over-http.js'
import { clientClock } from '../client/surroundings.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import { useClient, useSessionState } from './hooks.js'

/** A session, as the hub lists it live. Times: milliseconds since 1970. */
export interface ListedSession {
  readonly id: string
  readonly status: string
  readonly startedAt: number
  readonly endedAt?: number
  /** How many workers it has. */
  readonly workers: number
  readonly result?: Result
  readonly reason?: string
  /** How many questions wait for a person, in it and its workers. */
  readonly needs?: number
  /** How many workers have failed. */
  readonly failed?: number
  readonly lastAt?: number
  readonly title?: string
  readonly labels?: JsonValue
}

/** How long a failure stays at the top of the list. Milliseconds. */
const recentMs = 3_600_000

/** What `useSessions` returns: another object whenever something has changed. */
export interface Sessions {
  /** Those that need a person first, then failed, running and ended ones: at most 1,000. */
  readonly sessions: readonly ListedSession[]
  /** How many are left out. `client.sessions()` reads all. */
  readonly more: number
}

/**
 * The sessions of the hub, live. The token must allow to subscribe to `hub`; without that the list stays empty.
 *
 * @param follows `false`: nothing is followed
 */
export function useSessions(follows = true): Sessions {
  const list = useSessionState<JsonObject>(follows ? 'hub' : undefined, 'sessions')
  return useMemo(() => {
    const sessions: ListedSession[] = []
    let more = 0
    for (const [id, about] of Object.entries(list ?? {})) {
      // A session may have the name of the number of the others.
      if (typeof about === 'number') more = about
      else sessions.push({ ...fieldsOf(about), id } as unknown as ListedSession)
    }
    const now = clientClock.now()
    // A state's order is that of its changes.
    sessions.sort((one, other) => groupOf(one, now) - groupOf(other, now) || latest(other) - latest(one))
    return { sessions, more }
  }, [list])
}

/** @returns the place of a session in the list: what needs a person, what failed lately, what runs, what is over */
function groupOf({ needs = 0, failed = 0, result, endedAt, lastAt = 0 }: ListedSession, now: number): number {
  if (needs > 0) return 0
  const hasFailed = failed > 0 || result === 'failed' || result === 'lost'
  if (hasFailed && now - (endedAt ?? lastAt) < recentMs) return 1
  return endedAt === undefined ? 2 : 3
}

function latest({ startedAt, endedAt, lastAt }: ListedSession): number {
  return endedAt ?? lastAt ?? startedAt
}

/** A question that waits for a person. */
export interface OpenNeed {
  /** Of whom asks: where the answer goes. */
  readonly topic: string
  /** The worker that asks; absent where the session itself does. */
  readonly worker?: string
  readonly kind: 'input' | 'permission' | 'credentials'
  /** What the answer names: the key that its producer gave it, or its offset. */
  readonly key: string | number
  readonly text: string
  /** Milliseconds since 1970. */
  readonly time: number
}

export interface Needs {
  /** The oldest first; the 20 oldest of the session and of each worker. */
  readonly needs: readonly OpenNeed[]
  /** How many others there are. */
  readonly more: number
  /**
   * Answers one, by `command.input`.
   *
   * @param value a text, or JSON such as the chosen option
   * @returns once the hub has it; rejects as `client.command` does
   */
  answer(need: Pick<OpenNeed, 'topic' | 'key'>, value: string | JsonObject): Promise<SentCommand>
}

/**
 * What a session and its workers ask of a person, live.
 *
 * @param topic `sessions/{s}`; nothing is followed while it is absent
 */
export function useNeeds(topic: string | undefined): Needs {
  const client = useClient()
  const own = useSessionState<JsonObject>(topic, '$session')
  const workers = useSessionState<JsonObject>(topic, '$workers')
  const answer = useCallback(
    ({ topic, key }: Pick<OpenNeed, 'topic' | 'key'>, value: string | JsonObject) => {
      if (client === undefined) return Promise.reject(new Error('there is no client yet'))
      return client.command(topic, 'input', {
        key,
        ...(typeof value === 'string' ? { text: value } : { value }),
      })
    },
    [client],
  )
  return useMemo(() => {
    const needs: OpenNeed[] = []
    let more = 0
    const add = (about: JsonValue | undefined, from: Pick<OpenNeed, 'topic' | 'worker'>) => {
      const { needs: listed, needsMore } = fieldsOf(about)
      more += typeof needsMore === 'number' ? needsMore : 0
      for (const need of Array.isArray(listed) ? listed : []) {
        const { kind, key, text, time } = fieldsOf(need)
        needs.push({ ...from, kind, key, text, time } as OpenNeed)
      }
    }
    if (topic !== undefined) {
      add(own, { topic })
      for (const [worker, about] of Object.entries(fieldsOf(workers))) {
        add(about, { topic: `${topic}/workers/${worker}`, worker })
      }
    }
    return { needs: needs.toSorted((one, other) => one.time - other.time), more, answer }
  }, [topic, own, workers, answer])
}
