import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'
import { type Fields, fieldsOf, type Json } from './model.js'
import type { HubRequests, Query } from './requests.js'
import { nameIn, needsOf, numberOf, type Standing, standingOf } from './standing.js'

export type Listed = readonly [id: string, about: Fields]

/** The hub's list: sessions by id, and the number of sessions that it leaves out. */
export interface SessionList {
  readonly sessions: Fields
  readonly more: number
}

/** @returns the hub's list, live */
export function useSessions(client: Client): SessionList {
  const [list, setList] = useState<SessionList>({ sessions: {}, more: 0 })
  useEffect(() => {
    const subscription = client.subscribe(
      { topic: 'hub', slices: ['sessions'], replay: false },
      { onEvent() {}, onState: (state) => setList(listOf(state['sessions'])) },
    )
    return () => subscription.close()
  }, [client])
  return list
}

/** The slice has the sessions by id, and the number `more` if it leaves some out. */
function listOf(slice: Json | undefined): SessionList {
  const fields = fieldsOf(slice)
  if (typeof fields['more'] !== 'number') return { sessions: fields, more: 0 }
  const { more, ...sessions } = fields
  return { sessions, more: numberOf(more) }
}

/** @returns the hub's entry of one session, even if the live list leaves it out */
export function useAbout(requests: HubRequests, list: SessionList, session: string | undefined): Fields {
  const [fetched, setFetched] = useState<Listed>(['', {}])
  const live = session === undefined ? undefined : list.sessions[session]
  const isLeftOut = live === undefined && list.more > 0
  useEffect(() => {
    if (session === undefined || !isLeftOut) return
    const stop = new AbortController()
    requests.get(`api/sessions/${encodeURIComponent(session)}`, {}, stop.signal).then(
      (summary) => setFetched([session, aboutOf(summary)]),
      // The session is missing or forbidden; its own subscription reports that.
      () => undefined,
    )
    return () => stop.abort()
  }, [requests, session, isLeftOut])
  if (live !== undefined) return fieldsOf(live)
  return fetched[0] === session ? fetched[1] : {}
}

/** What to search for. */
export interface Wanted {
  readonly q: string
  readonly show: Standing | undefined
  /** Maximum of listed sessions. */
  readonly count: number
}

/** The result of a search. */
export interface FoundSessions {
  /** In order of urgency. */
  readonly found: readonly Listed[]
  /** Whether there are more. */
  readonly more: boolean
  /** That a request is running, or why it failed; empty otherwise. */
  readonly notice: string
}

/** Sessions per page. Without a search the first thousand are those of the live list, so a page is larger. */
const pageItems = { all: 1_000, some: 200 } as const
const askAfterMs = 200

/** The queries that narrow a request to a group; the rest of the selection is made in the answer. */
const queries: Partial<Record<Standing, Query>> = {
  asks: { needs: 1 },
  failed: { result: 'failed,lost' },
  running: { status: 'running,paused' },
  succeeded: { status: 'ended' },
}

/**
 * Searches the live list, and asks the hub for sessions that are not in it.
 *
 * @param list the live list
 */
export function useFound(
  requests: HubRequests,
  list: SessionList,
  { q, show, count }: Wanted,
  now: number,
): FoundSessions {
  const [others, setOthers] = useState<{
    readonly found: readonly Listed[]
    readonly next: string | undefined
  }>(none)
  const [notice, setNotice] = useState('')
  const isAsked =
    list.more > 0 && (q !== '' || show !== undefined || count > Object.keys(list.sessions).length)
  const request = useRef(new AbortController())
  const ask = (after: string | undefined) => {
    const { signal } = request.current
    setNotice('Asking the hub…')
    const query = {
      order: 'attention',
      limit: q === '' && show === undefined ? pageItems.all : pageItems.some,
      q: q === '' ? undefined : q,
      after,
    }
    requests.get('api/sessions', { ...query, ...(show && queries[show]) }, signal).then(
      ({ sessions, next }) => {
        setNotice('')
        const some = (Array.isArray(sessions) ? sessions : []).map(fieldsOf)
        const found = some.map((summary): Listed => [nameIn(summary['id']), aboutOf(summary)])
        setOthers((before) => ({
          found: after === undefined ? found : [...before.found, ...found],
          next: typeof next === 'string' ? next : undefined,
        }))
      },
      (error: unknown) => {
        if (!signal.aborted) setNotice(error instanceof Error ? error.message : String(error))
      },
    )
  }
  useEffect(() => {
    setOthers(none)
    setNotice('')
    if (!isAsked) return
    request.current = new AbortController()
    const { current } = request
    const timer = clientClock.after(askAfterMs, () => ask(undefined))
    return () => {
      timer.cancel()
      current.abort()
    }
  }, [requests, q, show, isAsked])

  const matcher = useMemo(() => matcherOf(q), [q])
  const found = new Map<string, Fields>()
  for (const [id, about] of others.found) {
    const live = list.sessions[id]
    found.set(id, live === undefined ? about : fieldsOf(live))
  }
  for (const [id, each] of Object.entries(list.sessions)) {
    const about = fieldsOf(each)
    if (found.has(id) || (matcher.kind === 'matches' && matcher.matches(id, about))) found.set(id, about)
  }
  const ordered = [...found]
    .filter(([, about]) => show === undefined || groupOf(about) === show)
    .toSorted(
      (one, other) => attentionOf(one, now) - attentionOf(other, now) || timeOf(other[1]) - timeOf(one[1]),
    )
  const lacks = isAsked && ordered.length < count ? others.next : undefined
  useEffect(() => {
    if (lacks !== undefined && notice === '') ask(lacks)
  }, [lacks, notice])
  return {
    found: ordered,
    more: ordered.length > count || others.next !== undefined || (list.more > 0 && !isAsked),
    notice: matcher.kind === 'faulty' ? matcher.why : notice,
  }
}

/** @returns a session as the live list would have it. @param summary as the hub answers it */
function aboutOf(summary: Fields): Fields {
  const { metadata, workers: all, ...about } = summary
  const workers = (Array.isArray(all) ? all : []).map(fieldsOf)
  const { title, labels } = fieldsOf(metadata)
  return {
    ...about,
    workers: workers.length,
    needs: [summary, ...workers].reduce((sum, each) => sum + needsOf(each), 0),
    failed: workers.filter(({ result }) => result === 'failed' || result === 'lost').length,
    ...(typeof title === 'string' && { title }),
    labels: Array.isArray(labels)
      ? labels
      : Object.entries(fieldsOf(labels)).map(([name, label]) => `${name}=${nameIn(label)}`),
  }
}

const none = { found: [], next: undefined }

type Matcher =
  | { readonly kind: 'matches'; readonly matches: (id: string, about: Fields) => boolean }
  | { readonly kind: 'faulty'; readonly why: string }

/** Matches as the hub's search does: a text in any case, or a regular expression between slashes. */
function matcherOf(q: string): Matcher {
  const [, source, flags = ''] = /^\/(.+)\/(i?)$/.exec(q) ?? []
  if (source === undefined) {
    const words = q.trim().toLowerCase()
    return { kind: 'matches', matches: (id, about) => textOf(id, about).toLowerCase().includes(words) }
  }
  try {
    const expression = new RegExp(source, flags)
    return { kind: 'matches', matches: (id, about) => expression.test(textOf(id, about)) }
  } catch (error) {
    return { kind: 'faulty', why: error instanceof Error ? error.message : String(error) }
  }
}

function textOf(id: string, about: Fields): string {
  const { reason } = about
  return [id, titleOf(about), ...labelsOf(about), typeof reason === 'string' ? reason : ''].join('\n')
}

/** @returns the group of the list that a session is in; an ended session without a result counts as done */
export function groupOf(about: Fields): Standing {
  const standing = standingOf(about)
  if (standing === 'lost' || (standing === 'running' && numberOf(about['failed']) > 0)) return 'failed'
  if (standing === 'stalled' || standing === 'paused' || standing === 'waiting') return 'running'
  return standing === 'ended' || standing === 'cancelled' ? 'succeeded' : standing
}

const recentMs = 3_600_000

function attentionOf([, about]: Listed, now: number): number {
  const group = groupOf(about)
  if (group === 'asks') return 0
  if (group === 'failed' && now - (numberOf(about['endedAt']) || numberOf(about['lastAt'])) < recentMs)
    return 1
  return numberOf(about['endedAt']) === 0 ? 2 : 3
}

/** Running sessions are sorted by their beginning, not by their last event, so that they keep their places. */
function timeOf(about: Fields): number {
  return numberOf(about['endedAt']) || numberOf(about['startedAt'])
}

export function titleOf({ title }: Fields): string {
  return typeof title === 'string' ? title : ''
}

export function labelsOf({ labels }: Fields): readonly string[] {
  return Array.isArray(labels) ? labels.map(String) : []
}
