import { useEffect, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { base } from './base.js'
import { countText, durationText, timeText } from './format.js'
import { type Fields, fieldsOf, type Json } from './model.js'
import { addressOf, home, type Place } from './place.js'
import { needsOf, numberOf, reasonOf, type Standing, standingOf } from './standing.js'
import { StatusMark } from './status-mark.js'

const listedMax = 200

/** What a person asks of the list first, with the words for it. */
const groups: readonly (readonly [Standing, (count: number) => string])[] = [
  ['asks', (count) => (count === 1 ? '1 needs you' : `${count} need you`)],
  ['failed', (count) => `${count} failed`],
  ['running', (count) => `${count} running`],
  ['succeeded', (count) => `${count} done`],
]

/** @returns the group of the list that a session is in; what is over without a result is done, too */
function groupOf(about: Fields): Standing {
  const standing = standingOf(about)
  if (standing === 'lost' || (standing === 'running' && numberOf(about['failed']) > 0)) return 'failed'
  if (standing === 'stalled' || standing === 'paused' || standing === 'waiting') return 'running'
  return standing === 'ended' || standing === 'cancelled' ? 'succeeded' : standing
}

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

type Listed = readonly [id: string, about: Fields]

/** The sessions of the hub, live, in the order in which a person looks at them: the hub's. */
export function Sessions({
  listed: { sessions, more },
  place,
  now,
  onPlace,
  onCounts,
}: {
  readonly listed: SessionList
  readonly place: Place
  readonly now: number
  readonly onPlace: (place: Place) => void
  /** Told how many there are of each group. */
  readonly onCounts: (counts: ReadonlyMap<Standing, number>) => void
}) {
  const search = useRef<HTMLInputElement>(null)
  const sought = place.q ?? ''
  useEffect(() => {
    const slash = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return
      if ((event.target as Element).closest('input, select, textarea') !== null) return
      event.preventDefault()
      search.current?.focus()
    }
    addEventListener('keydown', slash)
    return () => removeEventListener('keydown', slash)
  }, [])
  const all: readonly Listed[] = Object.entries(sessions).map(([id, about]) => [id, fieldsOf(about)] as const)
  const counts = new Map<Standing, number>()
  for (const [, about] of all) counts.set(groupOf(about), (counts.get(groupOf(about)) ?? 0) + 1)
  const said = groups.map(([group]) => counts.get(group) ?? 0).join(' ')
  useEffect(() => onCounts(counts), [said])
  const words = sought.trim().toLowerCase()
  const found = all
    .filter(([id, about]) => `${id}\n${textOf(about)}`.toLowerCase().includes(words))
    .filter(([, about]) => place.show === undefined || groupOf(about) === place.show)
    .toSorted(
      (one, other) => attentionOf(one, now) - attentionOf(other, now) || timeOf(other[1]) - timeOf(one[1]),
    )

  return (
    <nav class="sessions" aria-label="Sessions">
      <input
        ref={search}
        type="search"
        aria-keyshortcuts="/"
        title="Press / to search, and Enter for the first one found"
        aria-label="Search sessions"
        placeholder="Search sessions, labels"
        value={sought}
        onInput={(event) => onPlace({ ...place, q: event.currentTarget.value })}
        onKeyDown={(event) => {
          const first = found[0]
          if (event.key === 'Enter' && first !== undefined) onPlace({ ...home, session: first[0] })
        }}
      />
      <div class="groups" role="group" aria-label="Which sessions are listed">
        {groups.map(([group, words]) => {
          const count = counts.get(group) ?? 0
          if (count === 0 && place.show !== group) return null
          const { show, ...rest } = place
          return (
            <button
              type="button"
              key={group}
              class={`group ${group}`}
              aria-pressed={show === group}
              onClick={() => onPlace(show === group ? rest : { ...rest, show: group })}
            >
              <StatusMark standing={group} /> {words(count)}
            </button>
          )
        })}
      </div>
      <ul>
        {found.slice(0, listedMax).map(([id, about]) => {
          const { show, q } = place
          const to: Place = { ...home, session: id, ...(show && { show }), ...(q && { q }) }
          return (
            <li key={id}>
              <a
                href={addressOf(to, base)}
                aria-current={place.session === id ? 'page' : undefined}
                onClick={(event) => {
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return
                  event.preventDefault()
                  onPlace(to)
                }}
              >
                <Listing id={id} about={about} now={now} />
              </a>
            </li>
          )
        })}
      </ul>
      {found.length > listedMax && <p class="empty">{found.length - listedMax} more: search for them.</p>}
      {more > 0 && <p class="empty">{more.toLocaleString('en')} older ones are not listed.</p>}
      {found.length === 0 && (
        <p class="empty">
          {all.length === 0
            ? 'No session yet.'
            : `No session ${words === '' ? 'of this kind' : `is like “${sought}”`}.`}
        </p>
      )}
    </nav>
  )
}

/** What the list says of one session. */
function Listing({ id, about, now }: { readonly id: string; readonly about: Fields; readonly now: number }) {
  const standing = standingOf(about)
  const startedAt = numberOf(about['startedAt'])
  const endedAt = numberOf(about['endedAt'])
  const failed = numberOf(about['failed'])
  const needs = needsOf(about)
  const title = titleOf(about)
  const labels = labelsOf(about)
  const reason = reasonOf(about)
  const facts = [
    standing === 'asks' ? countText(needs, 'question') : standing,
    startedAt > 0 ? durationText((endedAt || now) - startedAt) : '',
    endedAt === 0 && failed > 0 ? `${failed} failed` : '',
    numberOf(about['workers']) > 0 ? countText(numberOf(about['workers']), 'worker') : '',
    endedAt > 0 ? `${durationText(now - endedAt, 'coarse')} ago` : idleText(about, now),
  ]
  return (
    <>
      <StatusMark standing={standing} />
      <span class="id" title={startedAt > 0 ? `${id}, began ${timeText(startedAt)}` : id}>
        {title === '' ? id : title}
      </span>
      {title !== '' && <span class="about">{id}</span>}
      {reason !== '' && standing !== 'succeeded' && (
        <span class="about why" title={reason}>
          {reason}
        </span>
      )}
      <span class="about">{facts.filter((fact) => fact !== '').join(' · ')}</span>
      {labels.length > 0 && <span class="about labels">{labels.join(' ')}</span>}
    </>
  )
}

const idleMs = 60_000

/** @returns since when it has published nothing, where that is worth a word */
export function idleText(about: Fields, now: number): string {
  const lastAt = numberOf(about['lastAt'])
  const idle = now - lastAt
  return lastAt === 0 || idle < idleMs ? '' : `last event ${durationText(idle, 'coarse')} ago`
}

/** The slice has the sessions by their ids, and `more` beside them where there are others. */
function listOf(slice: Json | undefined): SessionList {
  const fields = fieldsOf(slice)
  if (typeof fields['more'] !== 'number') return { sessions: fields, more: 0 }
  const { more, ...sessions } = fields
  return { sessions, more: numberOf(more) }
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

function textOf(about: Fields): string {
  return `${titleOf(about)}\n${labelsOf(about).join('\n')}`
}

export function titleOf({ title }: Fields): string {
  return typeof title === 'string' ? title : ''
}

export function labelsOf({ labels }: Fields): readonly string[] {
  return Array.isArray(labels) ? labels.map(String) : []
}
