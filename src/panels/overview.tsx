import { useState } from 'preact/hooks'
import { countText, durationText } from './format.js'
import type { Fields } from './model.js'
import { Slices } from './slices.js'
import { numberOf, reasonOf, standingOf, usageText } from './standing.js'
import { StatusMark } from './status-mark.js'

/** The number of rows at first, and of each further step. */
const rowsStep = 100
/** More workers than this get a search field. */
const searchedMin = 20
const rowsPerFrame = 25

export type Worker = readonly [id: string, about: Fields]

/** One row for each worker on a common time axis, with its standing, its duration and its reason. */
export function Overview({
  workers: all,
  now,
  isShown,
  onOpen,
  onOnly,
  onHide,
}: {
  readonly workers: readonly Worker[]
  readonly now: number
  readonly isShown: (worker: string) => boolean
  /** Goes to the worker's panel. */
  readonly onOpen: (worker: string) => void
  readonly onOnly: (worker: string) => void
  /** Hides the worker, or shows it again. */
  readonly onHide: (worker: string) => void
}) {
  const [text, search] = useState('')
  const [max, setMax] = useState(rowsStep)
  const words = text.trim().toLowerCase()
  const found = words === '' ? all : all.filter(([worker]) => worker.toLowerCase().includes(words))
  const workers = found.slice(0, max)
  const spans = workers.map(([, about]) => spanOf(about, now))
  const from = Math.min(...spans.map(([start]) => start))
  const length = Math.max(1, ...spans.map(([, end]) => end - from))
  const isOnlyOne = all.filter(([worker]) => isShown(worker)).length === 1
  return (
    <section class="overview" aria-labelledby="overview">
      <header>
        <h2 id="overview">{countText(all.length, 'worker')}</h2>
        {all.length > searchedMin && (
          <input
            type="search"
            aria-label="Search workers"
            placeholder="Search workers"
            value={text}
            onInput={(event) => search(event.currentTarget.value)}
          />
        )}
        <span class="axis" aria-hidden="true">
          <span>0</span>
          <span>{durationText(length)}</span>
        </span>
      </header>
      {/* It scrolls, so the keyboard must reach it. */}
      <ul tabIndex={0} aria-label="Workers on one time axis">
        <Slices step={rowsPerFrame}>
          {workers.map(([worker, about], at) => {
            const [start, end] = spans[at] as readonly [number, number]
            const standing = standingOf(about)
            const reason = reasonOf(about)
            const shown = isShown(worker)
            return (
              <li key={worker} class={shown ? standing : `${standing} hidden`}>
                <button
                  type="button"
                  class="open"
                  onClick={() => onOpen(worker)}
                  title={`Go to the panel of ${worker}`}
                >
                  <StatusMark standing={standing} />
                  <span class="id">{worker}</span>
                  <span class="track" aria-hidden="true">
                    <span
                      class="bar"
                      style={{
                        left: `${(100 * (start - from)) / length}%`,
                        width: `max(3px, ${(100 * (end - start)) / length}%)`,
                      }}
                    />
                  </span>
                  <span class="span">{durationText(end - start)}</span>
                  <span class="reason">{reason}</span>
                  <span class="usage">{usageText(about['usage'])}</span>
                </button>
                <button type="button" aria-pressed={shown && isOnlyOne} onClick={() => onOnly(worker)}>
                  Only<span class="unseen"> {worker}</span>
                </button>
                <button type="button" aria-pressed={!shown} onClick={() => onHide(worker)}>
                  {shown ? 'Hide' : 'Show'}
                  <span class="unseen"> {worker}</span>
                </button>
              </li>
            )
          })}
        </Slices>
        {found.length > max && (
          <li>
            <button type="button" onClick={() => setMax(max + rowsStep)}>
              Show {Math.min(rowsStep, found.length - max)} more of {countText(found.length - max, 'worker')}
            </button>
          </li>
        )}
        {found.length === 0 && <li class="empty">No worker matches “{text}”.</li>}
      </ul>
    </section>
  )
}

/** @returns when the worker began, and when it ended; the current time if it runs. Milliseconds since 1970 */
export function spanOf(about: Fields, now: number): readonly [start: number, end: number] {
  const start = numberOf(about['startedAt']) || now
  return [start, Math.max(start, numberOf(about['endedAt']) || now)]
}
