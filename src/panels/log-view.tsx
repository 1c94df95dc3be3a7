import { useLayoutEffect, useReducer, useRef } from 'preact/hooks'
import type { Log } from './log.js'
import { measure } from './measure.js'
import { type RowLinks, RowView } from './row-view.js'
import type { Row } from './rows.js'

const overscan = 400
const bottomSlack = 24
/** Scrolling closer than this to an end of the loaded events loads more of them. CSS pixels. */
const edgeSlack = 800
/** The height of the button above the first row, and of the one below the last row, if there is more. CSS pixels. */
const edgeHeight = 32

/** The scroll position of a log. The panel owns it, so that its buttons can change it. */
export interface Scroll {
  follow: boolean
  top: number
  /** The view goes to this row, as soon as it is drawn. */
  to: Row | undefined
  /** The row at the upper edge, and how many of its pixels are hidden: loading rows above does not move it. */
  at: { readonly key: string; readonly fromEnd: number; readonly above: number } | undefined
}

/** The visible rows, and empty space in place of the others. */
export function LogView({
  log,
  rows,
  scroll,
  label,
  since,
  edges,
  links,
  markOf,
  onFollow,
  onEarlier,
  onLater,
}: {
  readonly log: Log
  /** All rows of the log, or only the failures. */
  readonly rows: readonly Row[]
  readonly scroll: Scroll
  readonly label: string
  /** When the session or worker began; rows also show the time since then. Milliseconds since 1970 */
  readonly since: number | undefined
  /** The labels of the buttons above and below; empty if there is no more. */
  readonly edges: { readonly above: string; readonly below: string }
  readonly links: RowLinks
  /** Whether a row matches the search, or is the current match. */
  readonly markOf: (row: Row) => '' | 'found' | 'current'
  readonly onFollow: () => void
  /** These load earlier and later events. */
  readonly onEarlier: () => void
  readonly onLater: () => void
}) {
  const box = useRef<HTMLDivElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const boxHeight = useRef(600)
  const [, again] = useReducer((count: number, _: undefined) => count + 1, 0)
  const height = boxHeight.current

  const isAll = rows === log.rows
  const removed = log.takeRemovedHeight()
  const removedHeight = isAll ? removed : 0
  if (!scroll.follow && removedHeight > 0) scroll.top = Math.max(0, scroll.top - removedHeight)

  const edge = edges.above === '' ? 0 : edgeHeight
  const { at } = scroll
  if (scroll.to !== undefined) scroll.top = edge + heightAbove(rows, rows.indexOf(scroll.to))
  else if (at !== undefined && !scroll.follow) {
    const same = rows.findIndex(({ key }) => key === at.key)
    // Reloaded text may be split into other events, with other keys. The number of rows below is then the same.
    const row = same === -1 ? rows.length - at.fromEnd : same
    if (row >= 0) scroll.top = edge + heightAbove(rows, row) + at.above
  }
  const { first, last, above, below } = scroll.follow
    ? windowFromBelow(rows, height + overscan)
    : windowAt(rows, scroll.top - edge - overscan, height + 2 * overscan)
  const isMoved = scroll.at !== undefined || removedHeight > 0
  scroll.at = undefined

  useLayoutEffect(() => {
    const outer = box.current
    const inner = list.current
    if (outer === null || inner === null) return
    let moved = 0
    let shift = 0
    let target: number | undefined
    let isShort = false
    measure({
      read() {
        boxHeight.current = outer.clientHeight
        isShort = outer.scrollHeight <= outer.clientHeight + edgeHeight
        let top = edge + above
        Array.from(inner.children).forEach((element, at) => {
          const row = rows[first + at]
          if (row === undefined) return
          const measured = (element as HTMLElement).offsetHeight
          moved += Math.abs(measured - row.height)
          // A wrong estimate above the visible part must not move the visible part.
          if (top + row.height <= scroll.top) shift += measured - row.height
          top += row.height
          row.height = measured
        })
        // Rows above it may never have been measured, so its place is read from the page.
        const drawn = scroll.to && inner.children[rows.indexOf(scroll.to) - first]
        if (drawn instanceof HTMLElement) target = Math.max(0, drawn.offsetTop - outer.clientHeight / 3)
      },
      write() {
        // The browser limits the value to the end, so the end need not be measured.
        if (scroll.follow) outer.scrollTop = 1e9
        else if (target !== undefined) {
          scroll.top = outer.scrollTop = target
          scroll.to = undefined
        } else if (isMoved || shift !== 0) {
          scroll.top += shift
          outer.scrollTop = scroll.top
        }
        // Estimates were far off, so too few rows may be drawn.
        if (moved > overscan / 2) again(undefined)
        else if (isShort && isAll && edges.above !== '' && target === undefined) onEarlier()
      },
    })
  })

  return (
    <div
      ref={box}
      class="log"
      role="log"
      aria-label={label}
      // Not announced: the events would flood a screen reader.
      aria-live="off"
      // It scrolls, so the keyboard must reach it.
      tabIndex={0}
      onScroll={(event) => {
        const outer = event.currentTarget
        const below = outer.scrollHeight - outer.scrollTop - outer.clientHeight
        const up = outer.scrollTop < scroll.top - 1
        scroll.top = outer.scrollTop
        if (edges.above !== '' && outer.scrollTop < edgeSlack && up) onEarlier()
        if (edges.below !== '' && below < edgeSlack && !up) onLater()
        // Growing rows move the bottom away; only a person scrolls up.
        const follow = edges.below === '' && (up ? below < 1 : scroll.follow || below < bottomSlack)
        if (follow !== scroll.follow) {
          scroll.follow = follow
          onFollow()
        } else if (!follow) again(undefined)
      }}
    >
      {edges.above !== '' && (
        <div class="edge">
          <button type="button" onClick={onEarlier}>
            {edges.above}
          </button>
        </div>
      )}
      <div style={{ height: `${above}px` }} />
      <div ref={list}>
        {rows.slice(first, last).map((row) => (
          <RowView
            key={row.key}
            row={row}
            revision={row.revision}
            since={since}
            mark={markOf(row)}
            links={links}
            toggled={again}
          />
        ))}
      </div>
      <div style={{ height: `${below}px` }} />
      {edges.below !== '' && (
        <div class="edge">
          <button type="button" onClick={onLater}>
            {edges.below}
          </button>
        </div>
      )}
    </div>
  )
}

/** Stores which row is at the upper edge, before rows are added above it. */
export function holdPlace(rows: readonly Row[], scroll: Scroll, edge: boolean): void {
  let top = edge ? edgeHeight : 0
  for (const [at, row] of rows.entries()) {
    if (top + row.height > scroll.top) {
      scroll.at = { key: row.key, fromEnd: rows.length - at, above: scroll.top - top }
      return
    }
    top += row.height
  }
}

function heightAbove(rows: readonly Row[], at: number): number {
  return rows.slice(0, Math.max(0, at)).reduce((sum, { height }) => sum + height, 0)
}

interface Window {
  readonly first: number
  readonly last: number
  readonly above: number
  readonly below: number
}

function windowFromBelow(rows: readonly Row[], height: number): Window {
  let first = rows.length
  let seen = 0
  while (first > 0 && seen < height) {
    first -= 1
    seen += rows[first]?.height ?? 0
  }
  let above = 0
  for (let at = 0; at < first; at += 1) above += rows[at]?.height ?? 0
  return { first, last: rows.length, above, below: 0 }
}

function windowAt(rows: readonly Row[], top: number, height: number): Window {
  let first = 0
  let above = 0
  while (first < rows.length - 1 && above + (rows[first]?.height ?? 0) < top) {
    above += rows[first]?.height ?? 0
    first += 1
  }
  let last = first
  let seen = 0
  while (last < rows.length && seen < height) {
    seen += rows[last]?.height ?? 0
    last += 1
  }
  let below = 0
  for (let at = last; at < rows.length; at += 1) below += rows[at]?.height ?? 0
  return { first, last, above, below }
}
