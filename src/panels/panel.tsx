// Longer than 350 lines: one panel, with the state and the markup of its header, tools and rows.

import type { VNode } from 'preact'
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'
import type { StateChange } from '../client/view-events.js'
import { copyText, download } from './copy-download.js'
import { patternsOf } from './filter.js'
import { ModeField, TypesField } from './filter-fields.js'
import { FindBar } from './find-bar.js'
import { type Finder, following, type Match } from './finder.js'
import { countText, durationText, rateText } from './format.js'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'
import { notWhenIdle, whenIdle } from './idle-loop.js'
import { holdPlace, LogView, type Scroll } from './log-view.js'
import type { Fields } from './model.js'
import { type Meters, PanelFeed } from './panel-feed.js'
import type { Filter } from './place.js'
import type { Rate } from './rate.js'
import type { HubRequests } from './requests.js'
import type { Row } from './rows.js'
import { isError, seekerOf } from './search.js'
import { numberOf, reasonOf, standingOf, usageText } from './standing.js'
import { StatusMark } from './status-mark.js'
import { Steer } from './steer.js'

const searchAfterMs = 250

/** An event that a panel scrolls to. Each request is a new object, so that the same event can be requested again. */
export interface Goal {
  readonly offset: number
}

export interface PanelProps {
  readonly client: Client
  readonly requests: HubRequests
  readonly topic: string
  readonly name: string
  readonly kind: 'session' | 'worker'
  /** The hub's record of the topic: `status`, `startedAt`, `endedAt` and others. */
  readonly about: Fields
  readonly meters: Meters
  readonly rate: Rate
  /**
   * Further slices of the topic's state, and the function that gets them. A second subscription to the same topic would
   * need a response of its own over SSE.
   */
  readonly slices?: readonly string[]
  readonly onState?: (state: Fields, change: StateChange | undefined) => void
  /** The number of events that it begins with. */
  readonly lastMax: number
  readonly filter: Filter
  /** Whether all panels are paused. Each choice is a new object, so that it overrides the panel's own. */
  readonly rest: { readonly paused: boolean }
  readonly goal: Goal | undefined
  readonly now: number
  readonly onFilter: (filter: Filter) => void
  readonly hrefOf: (offset: number) => string
  /** Called with the offset of the event that a person marked. */
  readonly onMark: (offset: number) => void
}

/** One topic, live. */
export function Panel(props: PanelProps) {
  const { client, requests, topic, name, kind, about, meters, rate, filter, rest, goal, now } = props
  const section = useRef<HTMLElement>(null)
  const [scroll] = useState<Scroll>(() => ({ follow: true, top: 0, to: undefined, at: undefined }))
  const [, draw] = useReducer((count: number, _: undefined) => count + 1, 0)
  const [notice, setNotice] = useState('')
  /** The searched text; absent while the search is closed. */
  const [sought, seek] = useState<string>()
  const [current, setCurrent] = useState<Match>()
  /** Whether only failures are shown. */
  const onlyFailures = useRef(false)
  const visible = useRef(true)
  const drawn = useRef<VNode | undefined>(undefined)
  const made = useRef<PanelFeed | undefined>(undefined)
  const drawnLive = useRef(false)
  const drawnAbout = useRef(about)
  const isStale = useRef(false)
  // Outside the viewport it is drawn when the page is idle, for screen readers and the browser's own search.
  const showLater = useRef(() => {
    isStale.current = true
    draw(undefined)
  }).current
  const show = useRef(() => {
    if (visible.current || made.current?.live !== drawnLive.current) draw(undefined)
    else whenIdle(showLater)
  }).current
  const changed = useRef(() => onNextFrame(show)).current
  made.current ??= new PanelFeed({ client, requests }, topic, {
    meters,
    rate,
    lastMax: props.lastMax,
    ...(props.slices && { slices: props.slices }),
    ...(props.onState && { onState: props.onState }),
    onChange: changed,
  })
  const feed = made.current
  const { log } = feed
  // Rows call the latest properties, although `links` stays the same object.
  const latest = useRef(props)
  latest.current = props
  const links = useRef({
    hrefOf: (row: Row) => latest.current.hrefOf(row.offset),
    go(row: Row) {
      setCurrent({ offset: row.offset, row })
      latest.current.onMark(row.offset)
    },
  }).current

  useEffect(
    () => () => {
      notOnNextFrame(show)
      notWhenIdle(showLater)
      feed.close()
    },
    [],
  )
  useEffect(() => feed.choose(patternsOf(filter.types), filter.mode), [filter.types, filter.mode])

  const pause = (paused: boolean) => {
    if (paused) log.pause()
    else log.goOn()
    draw(undefined)
  }
  const isFirst = useRef(true)
  useEffect(() => {
    if (!isFirst.current || rest.paused) pause(rest.paused)
    isFirst.current = false
  }, [rest])
  const jump = () => {
    scroll.follow = true
    log.toEnd()
    draw(undefined)
  }

  // A panel outside the viewport is not drawn at once.
  useLayoutEffect(() => {
    const element = section.current
    if (element === null) return
    const observer = new IntersectionObserver((entries) => {
      visible.current = entries.at(-1)?.isIntersecting ?? true
      show()
    })
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  const sayAWhile = (text: string) => {
    setNotice(text)
    clientClock.after(2_000, () => setNotice(''))
  }
  const copy = async (text: string) => {
    sayAWhile((await copyText(text)) ? 'Copied' : 'The browser refused to copy')
  }

  const seeker = useMemo(() => seekerOf(sought ?? ''), [sought])
  const rowsShown = (): readonly Row[] => (onlyFailures.current ? log.rows.filter(isError) : log.rows)
  const keepScroll = () => holdPlace(rowsShown(), scroll, !log.whole)
  const finder = useFinder(seeker.kind === 'sought' ? seeker : undefined, feed, { keepScroll, changed })
  const errorFinder = useRef<Finder | undefined>(undefined)
  const matching =
    seeker.kind !== 'sought'
      ? []
      : (finder?.matching(log.rows) ?? log.rows.filter(seeker.matches).map(matchOf))
  const found = new Set(matching.map(({ row }) => row))
  const errors = errorFinder.current?.matching(log.rows) ?? log.rows.filter(isError).map(matchOf)

  /** Scrolls to a row. */
  const goToRow = (row: Row) => {
    setCurrent({ offset: row.offset, row })
    if (!isError(row)) onlyFailures.current = false
    scroll.follow = false
    scroll.to = row
    draw(undefined)
  }
  const showOnlyFailures = (only: boolean) => {
    onlyFailures.current = only
    // If the current row is a failure, it stays visible, so that the events around it can be read.
    const row = current?.row
    if (row !== undefined && log.rows.includes(row) && isError(row)) return goToRow(row)
    scroll.follow = !log.away
    scroll.top = 0
    draw(undefined)
  }
  const goTo = async (match: Match | undefined, of: Finder | undefined) => {
    setCurrent(match)
    if (match === undefined) return
    // Loading another part of the history may replace these rows, so their offsets are kept.
    if (match.row === undefined) of?.keep(of.matching(log.rows).map(({ offset }) => offset))
    const row = await feed.rowOfMatch(match)
    if (row !== undefined) goToRow(row)
    else sayAWhile('The hub no longer retains this event')
  }
  const step = (by: 1 | -1) => void goTo(following(matching, current, by), finder)
  const stepError = async (by: 1 | -1) => {
    errorFinder.current ??= feed.find(isError, { errors: true }, keepScroll)
    const finder = errorFinder.current
    if (errors.length === 0) await finder.done
    const next = following(finder.matching(log.rows), current, by)
    if (next === undefined) sayAWhile('No failure')
    else await goTo(next, finder)
  }
  const isLive = feed.live
  useEffect(() => {
    if (goal === undefined || !isLive) return
    void feed.goTo(goal.offset).then((row) => {
      if (row !== undefined) goToRow(row)
      else sayAWhile(`Event ${goal.offset} is not shown: excluded by the filter, or no longer retained`)
    })
  }, [goal, isLive])

  const keys = (event: KeyboardEvent) => {
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === '/') {
      event.preventDefault()
      event.stopPropagation()
      seek(sought ?? '')
    } else if (event.key.toLowerCase() === 'e') void stepError(event.shiftKey ? -1 : 1)
    else if (event.key === 'Home' && (event.target as Element).matches('.log')) {
      // The browser's own scrolling would be undone by the next event.
      event.preventDefault()
      void feed.toBeginning().then(() => {
        scroll.follow = false
        scroll.to = rowsShown()[0]
        draw(undefined)
      })
    } else if (event.key === 'End' && log.away) jump()
  }

  // Returning the same element makes Preact skip the panel.
  if (
    !visible.current &&
    drawn.current !== undefined &&
    drawnLive.current === feed.live &&
    !isStale.current
  ) {
    if (about !== drawnAbout.current) whenIdle(showLater)
    return drawn.current
  }
  drawnLive.current = feed.live
  drawnAbout.current = about
  isStale.current = false

  const standing = standingOf(about)
  const reason = reasonOf(about)
  const startedAt = typeof about['startedAt'] === 'number' ? about['startedAt'] : undefined
  const endedAt = typeof about['endedAt'] === 'number' ? about['endedAt'] : now
  const usage = usageText(about['usage'])
  const id = `${kind}-${name}`
  const rows = rowsShown()
  const isBare = feed.live && log.rows.length === 0
  const total = Math.max(numberOf(about['events']), log.whole && filter.types === '' ? log.received : 0)
  const edges = {
    above: log.whole || log.first === 0 ? '' : edgeText(feed, 'earlier', total),
    below: log.away ? edgeText(feed, 'later', total) : '',
  }

  drawn.current = (
    <section
      ref={section}
      onKeyDown={keys}
      class={`panel ${kind}${isBare ? ' bare' : ''}`}
      aria-labelledby={id}
      data-panel={name}
      data-live={feed.live}
    >
      <header>
        <h2 id={id} title={name}>
          {name}
        </h2>
        {feed.ended === undefined ? (
          <StatusMark standing={standing} word />
        ) : (
          <span class="mark-of failed" title={feed.ended}>
            <span aria-hidden="true">⊘</span> not followed
          </span>
        )}
        {(feed.ended !== undefined || (reason !== '' && standing !== 'succeeded')) && (
          <span class="reason" title={feed.ended ?? reason}>
            {feed.ended ?? reason}
          </span>
        )}
        <span class="figures">
          {usage !== '' && <span>{usage}</span>}
          {startedAt !== undefined && <span>{durationText(endedAt - startedAt)}</span>}
          <span>{rateText(rate.perSecond(now))}</span>
          {total > 0 && <span>{countText(total, 'event')}</span>}
        </span>
      </header>
      <div class="tools">
        <TypesField
          label={`Types shown in ${name}`}
          value={filter.types}
          known={log.types}
          onChoose={(types) => props.onFilter({ ...filter, types })}
        />
        <ModeField
          label={`Mode of ${name}`}
          value={filter.mode}
          onChoose={(mode) => props.onFilter({ ...filter, mode })}
        />
        <button type="button" class={log.paused ? 'on' : ''} onClick={() => pause(!log.paused)}>
          {log.paused ? 'Resume' : 'Pause'}
        </button>
        <button
          type="button"
          onClick={(event) => void copy(event.shiftKey ? log.text() : log.ndjson())}
          title="Copies the loaded events, one JSON object per line; with Shift, their text"
        >
          Copy
        </button>
        <button
          type="button"
          onClick={() => download(`${name}.ndjson`, log.ndjson())}
          title="Downloads the loaded events as NDJSON"
        >
          Download
        </button>
        <button
          type="button"
          class={`opens-find ${sought === undefined ? '' : 'on'}`}
          title="/"
          onClick={() => seek(sought ?? '')}
        >
          Find
        </button>
        {errors.length > 0 && (
          <button
            type="button"
            class="errors"
            title="Next failure (e); with Shift, the previous one"
            onClick={(event) => void stepError(event.shiftKey ? -1 : 1)}
          >
            ✕ {errors.length.toLocaleString('en')}
            <span class="unseen"> failures: go to the next</span>
          </button>
        )}
        {(errors.length > 0 || onlyFailures.current) && (
          <button
            type="button"
            aria-pressed={onlyFailures.current}
            class={onlyFailures.current ? 'on' : ''}
            title="Shows only the failures among the loaded events"
            onClick={() => showOnlyFailures(!onlyFailures.current)}
          >
            Only failures
          </button>
        )}
        {current !== undefined && current.offset > 0 && (
          <button
            type="button"
            title="Copies the address of the marked event"
            onClick={() => {
              props.onMark(current.offset)
              void copy(new URL(props.hrefOf(current.offset), location.href).href)
            }}
          >
            Link
          </button>
        )}
        <span class="said" role="status">
          {notice}
        </span>
      </div>
      <Steer
        client={client}
        topic={topic}
        name={name}
        standing={standing}
        commands={feed.commands}
        now={now}
      />
      {sought !== undefined && (
        <FindBar
          name={name}
          text={sought}
          seeker={seeker}
          finder={finder}
          matching={matching}
          current={current}
          onText={seek}
          onStep={step}
          onClose={() => {
            seek(undefined)
            section.current?.querySelector<HTMLElement>('.log')?.focus()
          }}
        />
      )}
      <div class="body">
        {log.rows.length === 0 && (
          <p class="empty">
            {emptyText(feed, { known: startedAt !== undefined, filter, total: numberOf(about['events']) })}
          </p>
        )}
        {log.rows.length > 0 && rows.length === 0 && <p class="empty">No failure among the loaded events.</p>}
        <LogView
          log={log}
          rows={rows}
          scroll={scroll}
          label={`Events of ${name}`}
          since={startedAt}
          edges={edges}
          links={links}
          markOf={(row) => (row.key === current?.row?.key ? 'current' : found.has(row) ? 'found' : '')}
          onFollow={show}
          onEarlier={() => void feed.earlier(keepScroll)}
          onLater={() => void feed.later()}
        />
        {(log.paused || log.away || !scroll.follow) && (
          <button type="button" class="jump" onClick={jump}>
            {log.paused ? `Paused · ${log.pending.length.toLocaleString('en')} new` : '↓ Newest'}
          </button>
        )}
      </div>
    </section>
  )
  return drawn.current
}

function matchOf(row: Row): Match {
  return { offset: row.offset, row }
}

/** Searches the history once typing has stopped. @returns the search, with the matches so far */
function useFinder(
  sought: { readonly matches: (row: Row) => boolean; readonly q: string } | undefined,
  feed: PanelFeed,
  { keepScroll, changed }: { readonly keepScroll: () => void; readonly changed: () => void },
): Finder | undefined {
  const finder = useRef<Finder | undefined>(undefined)
  const of = useRef(sought)
  useEffect(() => {
    of.current = sought
    if (sought === undefined) return
    const timer = clientClock.after(searchAfterMs, () => {
      finder.current = feed.find(sought.matches, { q: sought.q }, keepScroll)
      changed()
    })
    return () => {
      timer.cancel()
      finder.current?.stop()
      finder.current = undefined
    }
  }, [sought])
  return of.current === sought ? finder.current : undefined
}

/** @returns the label of the button that loads more */
function edgeText(feed: PanelFeed, which: 'earlier' | 'later', total: number): string {
  if (feed.loading !== undefined) return `Loading ${which} events…`
  if (feed.refused !== undefined) return `Not loaded: ${feed.refused} · try again`
  return `Load ${which} events${total > 0 ? ` · ${total.toLocaleString('en')} in all` : ''}`
}

/** @returns the text of a panel without rows */
function emptyText(
  feed: PanelFeed,
  { known, filter, total }: { readonly known: boolean; readonly filter: Filter; readonly total: number },
): string {
  if (feed.ended !== undefined) return ''
  if (!feed.live) return 'Joining…'
  if (filter.types !== '' || filter.mode !== 'full') {
    const which = [
      filter.types === '' ? '' : `the types ${filter.types}`,
      filter.mode === 'full' ? '' : `the mode ${filter.mode}`,
    ]
    const all = total === 0 ? 'Nothing yet.' : `None of ${countText(total, 'event')} passes.`
    return `${all} The filter shows only ${which.filter((each) => each !== '').join(' and ')}.`
  }
  return known ? 'Nothing yet.' : 'Nothing yet. Published events appear here at once.'
}

function isTyping({ target }: KeyboardEvent): boolean {
  return (target as Element).closest('input, select, textarea') !== null
}
