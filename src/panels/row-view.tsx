import type { ComponentChildren } from 'preact'
import { type Look, spansOf } from './ansi.js'
import { clockText, durationText, timeText } from './format.js'
import { Markdown } from './markdown.js'
import { fieldsOf } from './model.js'
import { pure } from './pure.js'
import { inputOf, outputOf, type Row } from './rows.js'
import { ValueText } from './value-text.js'

/** The address of a row's link, and what a click on it does. */
export interface RowLinks {
  hrefOf(row: Row): string
  go(row: Row): void
}

const marks = { running: '…', done: '✓', failed: '✕' } as const
const spoken = { running: 'running', done: 'done', failed: 'failed' } as const

interface Drawn {
  readonly row: Row
  readonly mark: string
  readonly stamp: ComponentChildren
}

/** One row; drawn again only when its revision changes. */
export const RowView = pure(function RowView({
  row,
  since,
  mark,
  links,
  toggled,
}: {
  readonly row: Row
  readonly revision: number
  readonly since: number | undefined
  readonly mark: string
  readonly links: RowLinks
  readonly toggled: (_: undefined) => void
}) {
  const { kind, text, type } = row
  if (kind === 'notice') return <div class={`row notice ${mark}`}>{text}</div>
  if (kind === 'date') return <div class="row date">{text}</div>
  const stamp = <Stamp row={row} since={since} links={links} />
  switch (kind) {
    case 'line':
      return <Line row={row} mark={mark} stamp={stamp} />
    case 'text':
      return (
        <div class={`row text ${row.isProse === true ? '' : 'quiet'} ${mark}`} title={type}>
          {stamp}
          {row.isProse === true ? <Markdown text={text} /> : text}
        </div>
      )
    case 'tool':
    case 'event':
    case 'error':
      return <Expandable row={row} mark={mark} stamp={stamp} toggled={toggled} />
  }
})

/** The time of publishing, as a link to the event. Keyboard users have the same link among the panel's tools. */
function Stamp({
  row,
  since,
  links,
}: {
  readonly row: Row
  readonly since: number | undefined
  readonly links: RowLinks
}) {
  const when = `${timeText(row.time)}${since === undefined ? '' : ` · after ${durationText(row.time - since)}`}`
  // CSS draws its text, so that copied rows do not contain it.
  return (
    <a
      class="stamp"
      href={links.hrefOf(row)}
      data-time={clockText(row.time)}
      aria-label={`Link to the event of ${clockText(row.time)}`}
      title={when}
      tabIndex={-1}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return
        event.preventDefault()
        links.go(row)
      }}
    />
  )
}

function Line({ row, mark, stamp }: Drawn) {
  const { spans } = spansOf(row.text, row.look)
  return (
    <div class={`row line ${row.stream === 'stderr' ? 'stderr' : ''} ${mark}`}>
      {stamp}
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
  const style = {
    ...(typeof color === 'string' && color !== '' && { color }),
    ...(typeof background === 'string' && background !== '' && { background }),
  }
  const shown = linked(text)
  if (classes.length === 0 && Object.keys(style).length === 0) return <>{shown}</>
  return (
    <span class={classes.join(' ')} style={style}>
      {shown}
    </span>
  )
}

const address = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g

/** Turns the addresses in a text into links. */
function linked(text: string): ComponentChildren {
  if (!text.includes('://')) return text
  const parts: ComponentChildren[] = []
  let from = 0
  for (const match of text.matchAll(address)) {
    parts.push(
      text.slice(from, match.index),
      <a href={match[0]} target="_blank" rel="noopener noreferrer">
        {match[0]}
      </a>,
    )
    from = match.index + match[0].length
  }
  return from === 0 ? text : [...parts, text.slice(from)]
}

function Expandable({ row, mark, stamp, toggled }: Drawn & { readonly toggled: (_: undefined) => void }) {
  const toggle = () => {
    row.isOpen = !row.isOpen
    row.revision += 1
    toggled(undefined)
  }
  const { kind, type, text, name, worker, outcome, details, result, tookMs } = row
  return (
    <div class={`row ${kind} ${outcome ?? ''} ${mark}`}>
      {details === undefined && result === undefined ? (
        <div class="head">
          <span class="type">{type}</span>
          <span class="summary">{text}</span>
        </div>
      ) : (
        <div class="headed">
          <button type="button" class="head" aria-expanded={row.isOpen} onClick={toggle}>
            <span class="mark" aria-hidden="true">
              {outcome === undefined ? (kind === 'error' ? '!' : '·') : marks[outcome]}
            </span>
            <span class="type" title={type}>
              {name || type}
            </span>
            {worker !== undefined && <span class="whose">{worker}</span>}
            {outcome && <span class="unseen">{spoken[outcome]}</span>}
            <span class="summary">{text}</span>
            {tookMs !== undefined && <span class="took">{durationText(tookMs)}</span>}
          </button>
          {stamp}
        </div>
      )}
      {row.isOpen && <Details row={row} onMore={() => toggled(undefined)} />}
    </div>
  )
}

/** The content of an open row. A tool call has its arguments and its result, each cut at its own limit. */
function Details({ row, onMore }: { readonly row: Row; readonly onMore: () => void }) {
  const { kind, details, result } = row
  if (kind !== 'tool') return <ValueText value={details ?? null} onMore={onMore} />
  return (
    <div class="call">
      {details !== undefined && (
        <details open onToggle={onMore}>
          <summary>Arguments</summary>
          <ValueText value={inputOf(fieldsOf(details)) || details} onMore={onMore} />
        </details>
      )}
      {result !== undefined && (
        <details open onToggle={onMore}>
          <summary>{row.outcome === 'failed' ? 'Error' : 'Result'}</summary>
          <ValueText value={outputOf(result)} onMore={onMore} />
        </details>
      )}
    </div>
  )
}
