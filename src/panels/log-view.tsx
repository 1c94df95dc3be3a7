import { useLayoutEffect, useReducer, useRef } from 'preact/hooks'
import { type Look, spansOf } from './ansi.js'
import { clockText, durationText, timeText } from './format.js'
import type { Log, Row } from './log.js'
import { measure } from './measure.js'
import { pure } from './pure.js'

const overscan = 400
const bottomSlack = 24

/** How far a log is scrolled; the panel owns it, so that its buttons can move it. */
export interface Scroll {
  follow: boolean
  top: number
  /** The view goes to this row, as soon as it is drawn. */
  to: Row | undefined
}

/** The rows that can be seen, and room for those that cannot. */
export function LogView({
  log,
  scroll,
  label,
  since,
  markOf,
  onFollow,
}: {
  readonly log: Log
  readonly scroll: Scroll
  readonly label: string
  /** When what is shown began: times are told from it as well. Milliseconds since 1970 */
  readonly since: number | undefined
  /** Whether a row is one that is sought, or the one that was gone to. */
  readonly markOf: (row: Row) => '' | 'found' | 'current'
  readonly onFollow: () => void
}) {
  const box = useRef<HTMLDivElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const boxHeight = useRef(600)
  const [, again] = useReducer((count: number, _: undefined) => count + 1, 0)
  const height = boxHeight.current

  if (!scroll.follow && log.removedHeight > 0) scroll.top = Math.max(0, scroll.top - log.removedHeight)
  const { removedHeight } = log
  log.removedHeight = 0

  const { rows } = log
  if (scroll.to !== undefined) scroll.top = heightAbove(rows, scroll.to)
  const { first, last, above, below } = scroll.follow
    ? windowFromBelow(rows, height + overscan)
    : windowAt(rows, scroll.top - overscan, height + 2 * overscan)

  useLayoutEffect(() => {
    const outer = box.current
    const inner = list.current
    if (outer === null || inner === null) return
    let moved = 0
    let target: number | undefined
    measure({
      read() {
        boxHeight.current = outer.clientHeight
        Array.from(inner.children).forEach((element, at) => {
          const row = rows[first + at]
          if (row === undefined) return
          const measured = (element as HTMLElement).offsetHeight
          moved += Math.abs(measured - row.height)
          row.height = measured
        })
        // What is above it may never have been measured: only where it is drawn can be asked.
        const drawn = scroll.to && inner.children[rows.indexOf(scroll.to) - first]
        if (drawn instanceof HTMLElement) target = Math.max(0, drawn.offsetTop - outer.clientHeight / 3)
      },
      write() {
        // More than there is: the browser stops at the end, and need not be asked where that is.
        if (scroll.follow) outer.scrollTop = 1e9
        else if (target !== undefined) {
          scroll.top = outer.scrollTop = target
          scroll.to = undefined
        } else if (removedHeight > 0) outer.scrollTop = scroll.top
        // Estimates were far off: what is visible may be too little.
        if (moved > overscan / 2) again(undefined)
      },
    })
  })

  return (
    <div
      ref={box}
      class="log"
      role="log"
      aria-label={label}
      // Announced only on request: a reader of the screen would be flooded.
      aria-live="off"
      // It scrolls, so it must be reachable by keyboard.
      tabIndex={0}
      onScroll={(event) => {
        const outer = event.currentTarget
        const below = outer.scrollHeight - outer.scrollTop - outer.clientHeight
        const up = outer.scrollTop < scroll.top - 1
        scroll.top = outer.scrollTop
        // Rows that grow move the bottom away; only a person moves up.
        const follow = up ? below < 1 : scroll.follow || below < bottomSlack
        if (follow !== scroll.follow) {
          scroll.follow = follow
          onFollow()
        } else if (!follow) again(undefined)
      }}
    >
      <div style={{ height: `${above}px` }} />
      <div ref={list}>
        {rows.slice(first, last).map((row) => (
          <RowView
            key={row.key}
            row={row}
            revision={row.revision}
            since={since}
            mark={markOf(row)}
            toggled={again}
          />
        ))}
      </div>
      <div style={{ height: `${below}px` }} />
    </div>
  )
}

function heightAbove(rows: readonly Row[], row: Row): number {
  return rows.slice(0, Math.max(0, rows.indexOf(row))).reduce((sum, { height }) => sum + height, 0)
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

/** One row; drawn again only when its revision changes. */
const RowView = pure(function RowView({
  row,
  since,
  mark,
  toggled,
}: {
  readonly row: Row
  readonly revision: number
  readonly since: number | undefined
  readonly mark: string
  readonly toggled: (_: undefined) => void
}) {
  const when = `${timeText(row.time)}${since === undefined ? '' : ` · after ${durationText(row.time - since)}`}`
  switch (row.kind) {
    case 'line':
      return <Line row={row} when={when} mark={mark} />
    case 'text':
      return (
        <div
          class={`row text ${/input|reasoning/.test(row.type) ? 'quiet' : ''} ${mark}`}
          title={`${row.type} · ${when}`}
          data-time={clockText(row.time)}
        >
          {row.text}
        </div>
      )
    case 'notice':
      return <div class={`row notice ${mark}`}>{row.text}</div>
    case 'tool':
    case 'event':
    case 'error':
      return <Expandable row={row} when={when} mark={mark} toggled={toggled} />
  }
})

interface Drawn {
  readonly row: Row
  /** When it was published, for whoever points at it. */
  readonly when: string
  readonly mark: string
}

function Line({ row, when, mark }: Drawn) {
  const { spans } = spansOf(row.text, row.look)
  return (
    <div
      class={`row line ${row.stream === 'stderr' ? 'stderr' : ''} ${mark}`}
      title={when}
      data-time={clockText(row.time)}
    >
      {spans.length === 0 ? '\u00a0' : spans.map(({ text, look }) => <Piece text={text} look={look} />)}
    </div>
  )
}

function Piece({ text, look }: { readonly text: string; readonly look: Look }) {
  const { color, background } = look.inverse
    ? { color: look.background ?? 'Canvas', background: look.color ?? 'currentColor' }
    : look
  const classes = [
    typeof color === 'number' ? `fg${color}` : '',
    typeof background === 'number' ? `bg${background}` : '',
    ...(['bold', 'faint', 'italic', 'underline', 'strike'] as const).map((name) => (look[name] ? name : '')),
    look.inverse && typeof background === 'string' ? 'inverse' : '',
  ].filter((name) => name !== '')
  if (classes.length === 0 && typeof color !== 'string' && typeof background !== 'string') return <>{text}</>
  const style = {
    ...(typeof color === 'string' && color !== '' && !look.inverse && { color }),
    ...(typeof background === 'string' &&
      background !== '' &&
      !look.inverse && { backgroundColor: background }),
  }
  return (
    <span class={classes.join(' ')} style={style}>
      {text}
    </span>
  )
}

const marks = { running: '◌', done: '✓', failed: '✕' } as const
const spoken = { running: 'running', done: 'done', failed: 'failed' } as const

function Expandable({ row, when, mark, toggled }: Drawn & { readonly toggled: (_: undefined) => void }) {
  const toggle = () => {
    row.isOpen = !row.isOpen
    row.revision += 1
    toggled(undefined)
  }
  return (
    <div class={`row ${row.kind} ${row.outcome ?? ''} ${mark}`}>
      {row.details === undefined ? (
        <div class="head">
          <span class="type">{row.type}</span>
          <span class="summary">{row.text}</span>
        </div>
      ) : (
        <button type="button" class="head" aria-expanded={row.isOpen} onClick={toggle}>
          <span class="mark" aria-hidden="true">
            {row.outcome === undefined ? (row.kind === 'error' ? '!' : '·') : marks[row.outcome]}
          </span>
          <span class="type" title={row.type}>
            {row.name || row.type}
          </span>
          {row.worker !== undefined && <span class="whose">{row.worker}</span>}
          {row.outcome && <span class="unseen">{spoken[row.outcome]}</span>}
          <span class="summary">{row.text}</span>
          <time title={when}>{clockText(row.time)}</time>
        </button>
      )}
      {row.isOpen && <pre class="details">{JSON.stringify(row.details, undefined, 2).slice(0, 20_000)}</pre>}
    </div>
  )
}
