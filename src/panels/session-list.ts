import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'
import { type Fields, fieldsOf, type Json } from './model.js'
import type { HubRequests, Query } from './requests.js'
import { nameIn, needsOf, numberOf, type Standing, standingOf } from './standing.js'

export type Listed = readonly [id: string, about: Fields]

/** What the hub lists: sessions by id, and how many it leaves out. */
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

/** The slice has the sessions by their ids, and `more` beside them where there are others. */
function listOf(slice: Json | undefined): SessionList {
  const fields = fieldsOf(slice)
  if (typeof fields['more'] !== 'number') return { sessions: fields, more: 0 }
  const { more, ...sessions } = fields
  return { sessions, more: numberOf(more) }
}

/** @returns what the hub says of one session, also where its live list leaves it out */
export function useAbout(requests: HubRequests, list: SessionList, session: string | undefined): Fields {
  const [asked, setAsked] = useState<Listed>(['', {}])
  const live = session === undefined ? undefined : list.sessions[session]
  const isLeftOut = live === undefined && list.more > 0
  useEffect(() => {
    if (session === undefined || !isLeftOut) return
    const stop = new AbortController()
    requests.get(`api/sessions/${encodeURIComponent(session)}`, {}, stop.signal).then(
      (summary) => setAsked([session, aboutOf(summary)]),
      // There is none, or it may not be seen: its own stream says so.
      () => undefined,
    )
    return () => stop.abort()
  }, [requests, session, isLeftOut])
  if (live !== undefined) return fieldsOf(live)
  return asked[0] === session ? asked[1] : {}
}

/** Which sessions are wanted. */
export interface Wanted {
  readonly q: string
  readonly show: Standing | undefined
  /** Maximum of listed sessions. */
  readonly count: number
}

/** The result of a search. */
export interface FoundSessions {
  /** In the order in which a person looks at them. */
  readonly found: readonly Listed[]
  /** Whether there are more. */
  readonly more: boolean
  /** What the hub is asked, or why it refused. */
  readonly said: string
}

/** Of all, the first thousand are those of the live list. */
const pageItems = { all: 1_000, some: 200 } as const
const askAfterMs = 200

/** What of a group the hub can be asked for; what is left is picked out of the answer. */
const queries: Partial<Record<Standing, Query>> = {
  asks: { needs: 1 },
  failed: { result: 'failed,lost' },
  running: { status: 'running,paused' },
  succeeded: { status: 'ended' },
}

/**
 * Looks through the live list, and asks the hub for those that are not in it.
 *
 * @param list the live one
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
  const [said, say] = useState('')
  const isAsked =
    list.more > 0 && (q !== '' || show !== undefined || count > Object.keys(list.sessions).length)
  const asked = useRef(new AbortController())
  const ask = (after: string | undefined) => {
    const { signal } = asked.current
    say('Asking the hub…')
    const query = {
      order: 'attention',
      limit: q === '' && show === undefined ? pageItems.all : pageItems.some,
      q: q === '' ? undefined : q,
      after,
    }
    requests.get('api/sessions', { ...query, ...(show && queries[show]) }, signal).then(
      ({ sessions, next }) => {
        say('')
        const some = (Array.isArray(sessions) ? sessions : []).map(fieldsOf)
        const found = some.map((summary): Listed => [nameIn(summary['id']), aboutOf(summary)])
        setOthers((before) => ({
          found: after === undefined ? found : [...before.found, ...found],
          next: typeof next === 'string' ? next : undefined,
        }))
      },
      (error: unknown) => {
        if (!signal.aborted) say(error instanceof Error ? error.message : String(error))
      },
    )
  }
  useEffect(() => {
    setOthers(none)
    say('')
    if (!isAsked) return
    asked.current = new AbortController()
    const { current } = asked
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
    if (lacks !== undefined && said === '') ask(lacks)
  }, [lacks, said])
  return {
    found: ordered,
    more: ordered.length > count || others.next !== undefined || (list.more > 0 && !isAsked),
    said: matcher.kind === 'faulty' ? matcher.why : said,
  }
}

/** @returns what the live list would say of a session. @param summary as the hub answers it */
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

/** As the hub searches: a text in any case, or an expression between slashes. */
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

/** @returns the group of the list that a session is in; what is over without a result is done, too */
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

/** What runs stays where it is in the list: it is sorted by when it began, not by when it was last heard of. */
function timeOf(about: Fields): number {
  return numberOf(about['endedAt']) || numberOf(about['startedAt'])
}

export function titleOf({ title }: Fields): string {
  return typeof title === 'string' ? title : ''
}

export function labelsOf({ labels }: Fields): readonly string[] {
  return Array.isArray(labels) ? labels.map(String) : []
}
