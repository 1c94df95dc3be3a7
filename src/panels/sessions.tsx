import { useEffect, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { base } from './base.js'
import { countText, durationText } from './format.js'
import { type Fields, fieldsOf } from './model.js'
import { StatusDot } from './panel.js'
import { addressOf, home, type Place } from './place.js'

const listedMax = 200

/** The sessions of the hub, live: the newest first. */
export function Sessions({
  client,
  place,
  now,
  onPlace,
}: {
  readonly client: Client
  readonly place: Place
  readonly now: number
  readonly onPlace: (place: Place) => void
}) {
  const [sessions, setSessions] = useState<Fields>({})
  const [sought, seek] = useState('')
  const search = useRef<HTMLInputElement>(null)
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
  useEffect(() => {
    const subscription = client.subscribe(
      { topic: 'hub', slices: ['sessions'], replay: false },
      { onEvent() {}, onState: (state) => setSessions(fieldsOf(state['sessions'])) },
    )
    return () => subscription.close()
  }, [client])

  const startOf = (about: Fields): number => (typeof about['startedAt'] === 'number' ? about['startedAt'] : 0)
  const found = Object.entries(sessions)
    .map(([id, about]) => [id, fieldsOf(about)] as const)
    .filter(([id]) => id.toLowerCase().includes(sought.trim().toLowerCase()))
    .toSorted((one, other) => startOf(other[1]) - startOf(one[1]))

  return (
    <nav class="sessions" aria-label="Sessions">
      <input
        ref={search}
        type="search"
        aria-keyshortcuts="/"
        title="Press / to search, and Enter for the first one found"
        aria-label="Search sessions"
        placeholder="Search sessions"
        value={sought}
        onInput={(event) => seek(event.currentTarget.value)}
        onKeyDown={(event) => {
          const first = found[0]
          if (event.key === 'Enter' && first !== undefined) onPlace({ ...home, session: first[0] })
        }}
      />
      <ul>
        {found.slice(0, listedMax).map(([id, about]) => {
          const to: Place = { ...home, session: id }
          const status = typeof about['status'] === 'string' ? about['status'] : 'waiting'
          const end = typeof about['endedAt'] === 'number' ? about['endedAt'] : now
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
                <StatusDot status={status} />
                <span class="id" title={id}>
                  {id}
                </span>
                <span class="about">
                  {status}
                  {startOf(about) > 0 && ` · ${durationText(end - startOf(about))}`}
                  {typeof about['workers'] === 'number' && ` · ${countText(about['workers'], 'worker')}`}
                </span>
              </a>
            </li>
          )
        })}
      </ul>
      {found.length > listedMax && <p class="empty">{found.length - listedMax} more: search for them.</p>}
      {found.length === 0 && (
        <p class="empty">{sought === '' ? 'No session yet.' : `No session is named like “${sought}”.`}</p>
      )}
    </nav>
  )
}
