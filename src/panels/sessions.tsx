import { useEffect, useRef } from 'preact/hooks'
import { base } from './base.js'
import { countText, durationText, sinceText, timeText } from './format.js'
import { type Fields, fieldsOf } from './model.js'
import { addressOf, home, type Place } from './place.js'
import type { HubRequests } from './requests.js'
import { groupOf, labelsOf, type SessionList, titleOf, useFound } from './session-list.js'
import { needsOf, numberOf, reasonOf, type Standing, standingOf } from './standing.js'
import { StatusMark } from './status-mark.js'

/** The groups of the list, in order of urgency, with their labels. */
const groups: readonly (readonly [Standing, (count: string) => string])[] = [
  ['asks', (count) => (count === '1' ? '1 needs you' : `${count} need you`)],
  ['failed', (count) => `${count} failed`],
  ['running', (count) => `${count} running`],
  ['succeeded', (count) => `${count} done`],
]

/** The number of sessions listed at first, and of each further step. */
const listedStep = 200

/** The sessions of the hub, live, in the hub's order: those that need attention first. */
export function Sessions({
  listed: list,
  requests,
  place,
  now,
  onPlace,
  onCounts,
}: {
  readonly listed: SessionList
  readonly requests: HubRequests
  readonly place: Place
  readonly now: number
  readonly onPlace: (place: Place) => void
  /** Called with the number of sessions of each group. */
  readonly onCounts: (counts: ReadonlyMap<Standing, number>) => void
}) {
  const search = useRef<HTMLInputElement>(null)
  const rows = useRef<HTMLUListElement>(null)
  const sought = place.q ?? ''
  const count = place.listed ?? listedStep
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
  const counts = new Map<Standing, number>()
  for (const each of Object.values(list.sessions)) {
    const group = groupOf(fieldsOf(each))
    counts.set(group, (counts.get(group) ?? 0) + 1)
  }
  const countsText = groups.map(([group]) => counts.get(group) ?? 0).join(' ')
  useEffect(() => onCounts(counts), [countsText])
  const { found, more, notice } = useFound(requests, list, { q: sought, show: place.show, count }, now)
  const shown = found.slice(0, count)
  /** Tab reaches this session; the arrow keys reach the others. */
  const entry = shown.some(([id]) => id === place.session) ? place.session : shown[0]?.[0]

  return (
    <nav class="sessions" aria-label="Sessions">
      <input
        ref={search}
        type="search"
        aria-keyshortcuts="/"
        title="Press / to search, Enter to open the first match, the arrow keys for the others"
        aria-label="Search sessions"
        placeholder="Search sessions, labels"
        value={sought}
        onInput={(event) => {
          const { listed: _, ...rest } = place
          onPlace({ ...rest, q: event.currentTarget.value })
        }}
        onKeyDown={(event) => {
          const first = shown[0]
          if (event.key === 'Enter' && first !== undefined) onPlace({ ...home, session: first[0] })
          else if (event.key === 'ArrowDown') focusRow(rows.current, 0)
          else return
          event.preventDefault()
        }}
      />
      <div class="groups" role="group" aria-label="Which sessions are listed">
        {groups.map(([group, words]) => {
          const here = counts.get(group) ?? 0
          if (here === 0 && place.show !== group) return null
          const { show, listed: _, ...rest } = place
          // Sessions outside the live list failed long ago, or are done: these two counts are minimums.
          const isLeast = list.more > 0 && (group === 'failed' || group === 'succeeded')
          return (
            <button
              type="button"
              key={group}
              class={`group ${group}`}
              aria-pressed={show === group}
              onClick={() => onPlace(show === group ? rest : { ...rest, show: group })}
            >
              <StatusMark standing={group} /> {words(`${here.toLocaleString('en')}${isLeast ? '+' : ''}`)}
            </button>
          )
        })}
      </div>
      <ul ref={rows} onKeyDown={moveInList}>
        {shown.map(([id, about]) => {
          const { show, q, listed } = place
          const to: Place = {
            ...home,
            session: id,
            ...(show && { show }),
            ...(q && { q }),
            ...(listed && { listed }),
          }
          return (
            <li key={id}>
              <a
                href={addressOf(to, base)}
                aria-current={place.session === id ? 'page' : undefined}
                tabIndex={id === entry ? 0 : -1}
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
        {more && (
          <li>
            <button
              type="button"
              class="more"
              onClick={() => onPlace({ ...place, listed: count + listedStep })}
            >
              Show more
              {list.more > 0 && sought === '' && place.show === undefined
                ? ` · ${(found.length - shown.length + list.more).toLocaleString('en')} older ones`
                : ''}
            </button>
          </li>
        )}
      </ul>
      <p class="empty" role="status">
        {notice !== ''
          ? notice
          : shown.length > 0
            ? ''
            : Object.keys(list.sessions).length === 0
              ? 'No session yet.'
              : `No session ${sought.trim() === '' ? 'of this kind' : `matches “${sought}”`}.`}
      </p>
    </nav>
  )
}

/** Moves the focus in the list by the arrow keys, j and k. */
function moveInList(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const list = event.currentTarget as HTMLUListElement
  const at = linksOf(list).indexOf(document.activeElement as HTMLElement)
  const last = linksOf(list).length - 1
  switch (event.key) {
    case 'ArrowDown':
    case 'j':
      focusRow(list, Math.min(last, at + 1))
      break
    case 'ArrowUp':
    case 'k':
      focusRow(list, Math.max(0, at - 1))
      break
    case 'Home':
      focusRow(list, 0)
      break
    case 'End':
      focusRow(list, last)
      break
    default:
      return
  }
  event.preventDefault()
}

function focusRow(list: HTMLUListElement | null, at: number): void {
  if (list !== null) linksOf(list)[at]?.focus()
}

function linksOf(list: HTMLUListElement): HTMLElement[] {
  return [...list.querySelectorAll<HTMLElement>('a')]
}

/** One entry of the list. */
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
    startedAt > 0 ? `${sinceText(startedAt, now)} for ${durationText((endedAt || now) - startedAt)}` : '',
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

/** @returns how long ago the last event was; empty within the first minute */
export function idleText(about: Fields, now: number): string {
  const lastAt = numberOf(about['lastAt'])
  const idle = now - lastAt
  return lastAt === 0 || idle < idleMs ? '' : `last event ${durationText(idle, 'coarse')} ago`
}
