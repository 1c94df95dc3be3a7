// Longer than 350 lines: one panel with all that its head and its rows can do.

import type { VNode } from 'preact'
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import type { Changes } from '../client/subscription.js'
import { clientClock } from '../client/surroundings.js'
import { faultIn, passes, patternsOf } from './filter.js'
import { FindBar } from './find-bar.js'
import { countText, durationText, rateText } from './format.js'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'
import type { Lag } from './lag.js'
import { Log, type Row } from './log.js'
import { LogView, type Scroll } from './log-view.js'
import { type Fields, fieldsOf, type PanelEvent, type PanelMode, panelModes } from './model.js'
import type { Rate } from './rate.js'
import { following, isError, seekerOf } from './search.js'
import { numberOf, reasonOf, standingOf, usageText } from './standing.js'
import { StatusMark } from './status-mark.js'
import { Steer } from './steer.js'
import { copyText, download } from './take-away.js'

/** What all panels of a session share. */
export interface Meters {
  readonly total: Rate
  readonly lag: Lag
  gaps: number
}

/** What is chosen for all panels at once; a new object with each choice, so that it overrules a panel's own. */
export interface Choice {
  readonly types: string
  readonly mode: PanelMode
  readonly paused: boolean
}

export interface PanelProps {
  readonly client: Client
  readonly topic: string
  readonly name: string
  readonly kind: 'session' | 'worker'
  /** `status`, `startedAt`, `endedAt`, as the hub says. */
  readonly about: Fields
  readonly meters: Meters
  readonly rate: Rate
  readonly choice: Choice
  readonly now: number
}

/** One topic, live. */
export function Panel({ client, topic, name, kind, about, meters, rate, choice, now }: PanelProps) {
  const section = useRef<HTMLElement>(null)
  const [log] = useState(() => new Log())
  const [scroll] = useState<Scroll>(() => ({ follow: true, top: 0, to: undefined }))
  const [, draw] = useReducer((count: number, _: undefined) => count + 1, 0)
  const [types, setTypes] = useState(choice.types)
  const [mode, setMode] = useState(choice.mode)
  const [said, say] = useState('')
  const [live, setLive] = useState(false)
  /** What is searched for; nothing while nobody searches. */
  const [sought, seek] = useState<string>()
  const [current, setCurrent] = useState<Row>()
  const subscription = useRef<{ update(changes: Changes): void; close(): void } | undefined>(undefined)
  const commands = useRef<Fields>({})
  const visible = useRef(true)
  const drawn = useRef<VNode | undefined>(undefined)
  const show = useRef(() => {
    if (visible.current) draw(undefined)
  }).current

  /** Follows the topic by a filter. `had`: of what types all is here already, and need not come again. */
  const follow = (patterns: readonly string[], by: PanelMode, had?: (type: string) => boolean) => {
    const before = subscription.current
    const joining: PanelEvent[] = []
    let joined = had === undefined
    const made = client.subscribe(
      {
        topic,
        mode: by,
        replay: 'all',
        slices: ['$commands'],
        ...(patterns.length > 0 && { types: patterns }),
      },
      {
        onEvent(event) {
          if (!joined) return void joining.push(event)
          log.put(event)
          if (event.replay !== true) {
            const time = clientClock.now()
            rate.count(time)
            meters.total.count(time)
            meters.lag.count(event.time, time)
          }
          onNextFrame(show)
        },
        onState(state) {
          commands.current = fieldsOf(state['$commands'])
          onNextFrame(show)
        },
        onGap(gap) {
          meters.gaps += 1
          const lost = gap.dropped === undefined ? 'events' : countText(gap.dropped, 'event')
          const now = clientClock.now()
          if (gap.reason === 'epoch') {
            log.beginAnew('The session began anew: what follows is a new count of its events.', now)
          } else log.notice(`Gap: ${lost} could not be delivered (${gap.reason}).`, now, 'error')
          onNextFrame(show)
        },
        onLive() {
          setLive(true)
          if (joined || had === undefined) return
          joined = true
          before?.close()
          log.complete(joining, had)
          onNextFrame(show)
        },
        onEnd({ code, reason }) {
          if (code !== 'closed')
            log.notice(`The hub ended this subscription: ${reason}`, clientClock.now(), 'error')
          onNextFrame(show)
        },
      },
    )
    subscription.current = {
      update: (changes) => made.update(changes),
      close() {
        made.close()
        if (!joined) before?.close()
      },
    }
  }

  useEffect(() => {
    const patterns = patternsOf(choice.types)
    log.choose(patterns)
    follow(patterns, choice.mode)
    return () => {
      notOnNextFrame(show)
      subscription.current?.close()
    }
  }, [client, topic])

  const chooseTypes = (text: string) => {
    const before = patternsOf(types)
    const patterns = patternsOf(text)
    const fault = faultIn(text)
    if (fault !== undefined) sayAWhile(`${fault} is no name of a type, prefix* or !name: passed over`)
    setTypes(text)
    log.choose(patterns)
    // What the filter before let through is here; the rest comes from the hub's history.
    if (before.length > 0) follow(patterns, mode, (type) => passes(type, before))
    else subscription.current?.update({ types: patterns.length === 0 ? null : patterns })
    onNextFrame(show)
  }
  const chooseMode = (next: PanelMode) => {
    setMode(next)
    const patterns = patternsOf(types)
    if (panelModes.indexOf(next) < panelModes.indexOf(mode)) follow(patterns, next, () => false)
    else {
      subscription.current?.update({ mode: next })
      log.notice(`From here in mode ${next}.`, clientClock.now())
    }
    onNextFrame(show)
  }
  const pause = (paused: boolean) => {
    if (paused) log.pause()
    else log.goOn()
    draw(undefined)
  }
  const jump = () => {
    scroll.follow = true
    if (log.paused) log.goOn()
    draw(undefined)
  }

  const chosen = useRef(choice)
  useEffect(() => {
    const before = chosen.current
    chosen.current = choice
    if (before.types !== choice.types) chooseTypes(choice.types)
    if (before.mode !== choice.mode) chooseMode(choice.mode)
    if (before.paused !== choice.paused) pause(choice.paused)
  }, [choice])

  // What is out of sight is not drawn.
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
    say(text)
    clientClock.after(2_000, () => say(''))
  }
  const copy = async () => {
    const copied = await copyText(log.ndjson())
    sayAWhile(copied ? 'Copied' : 'The browser did not let it be copied')
  }

  const seeker = useMemo(() => seekerOf(sought ?? ''), [sought])
  const matching = seeker.kind === 'sought' ? log.rows.filter(seeker.matches) : []
  const found = new Set(matching)
  const errors = log.rows.filter(isError)
  /** Goes to a row, in the middle of what is seen. */
  const goTo = (row: Row | undefined) => {
    setCurrent(row)
    if (row === undefined) return
    scroll.follow = false
    scroll.to = row
    draw(undefined)
  }
  const step = (by: 1 | -1) => goTo(following(matching, log.rows, current, by))
  const keys = (event: KeyboardEvent) => {
    const isFind = event.key === '/' || (event.key === 'f' && (event.ctrlKey || event.metaKey))
    if (isFind && !isTyping(event)) {
      event.preventDefault()
      event.stopPropagation()
      seek(sought ?? '')
    } else if (event.key === 'e' && !event.ctrlKey && !event.metaKey && !isTyping(event)) {
      goTo(following(errors, log.rows, current, event.shiftKey ? -1 : 1))
    }
  }

  // The same picture again costs nothing.
  if (!visible.current && drawn.current !== undefined) return drawn.current

  const standing = standingOf(about)
  const reason = reasonOf(about)
  const startedAt = typeof about['startedAt'] === 'number' ? about['startedAt'] : undefined
  const endedAt = typeof about['endedAt'] === 'number' ? about['endedAt'] : now
  const usage = usageText(about['usage'])
  const id = `${kind}-${name}`
  const isBare = live && log.rows.length === 0

  drawn.current = (
    <section
      ref={section}
      onKeyDown={keys}
      class={`panel ${kind}${isBare ? ' bare' : ''}`}
      aria-labelledby={id}
      data-panel={name}
      data-live={live}
    >
      <header>
        <h2 id={id} title={name}>
          {name}
        </h2>
        <StatusMark standing={standing} word />
        {reason !== '' && standing !== 'succeeded' && (
          <span class="reason" title={reason}>
            {reason}
          </span>
        )}
        <span class="figures">
          {usage !== '' && <span>{usage}</span>}
          {startedAt !== undefined && <span>{durationText(endedAt - startedAt)}</span>}
          <span>{rateText(rate.perSecond(now))}</span>
          <span>{countText(Math.max(log.received, numberOf(about['events'])), 'event')}</span>
        </span>
      </header>
      <div class="tools">
        <TypesField label={`Types shown in ${name}`} value={types} known={log.types} onChoose={chooseTypes} />
        <ModeField label={`Mode of ${name}`} value={mode} onChoose={chooseMode} />
        <button type="button" class={log.paused ? 'on' : ''} onClick={() => pause(!log.paused)}>
          {log.paused ? 'Resume' : 'Pause'}
        </button>
        <button
          type="button"
          onClick={() => void copy()}
          title="Copies the events shown, one JSON object a line"
        >
          Copy
        </button>
        <button
          type="button"
          onClick={() => download(`${name}.ndjson`, log.ndjson())}
          title="The events shown"
        >
          Download
        </button>
        <button
          type="button"
          class={sought === undefined ? '' : 'on'}
          title="/"
          onClick={() => seek(sought ?? '')}
        >
          Find
        </button>
        {errors.length > 0 && (
          <button
            type="button"
            class="errors"
            title="The next failure (e), with Shift the one before"
            onClick={(event) => goTo(following(errors, log.rows, current, event.shiftKey ? -1 : 1))}
          >
            ✕ {errors.length.toLocaleString('en')}
            <span class="unseen"> failures: go to the next</span>
          </button>
        )}
        <span class="said" role="status">
          {said}
        </span>
      </div>
      <Steer
        client={client}
        topic={topic}
        name={name}
        standing={standing}
        commands={commands.current}
        now={now}
      />
      {sought !== undefined && (
        <FindBar
          name={name}
          text={sought}
          seeker={seeker}
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
            {emptyText({ live, known: startedAt !== undefined, filtered: types !== '' || mode !== 'full' })}
          </p>
        )}
        <LogView
          log={log}
          scroll={scroll}
          label={`Events of ${name}`}
          since={startedAt}
          markOf={(row) => (row === current ? 'current' : found.has(row) ? 'found' : '')}
          onFollow={show}
        />
        {(log.paused || !scroll.follow) && (
          <button type="button" class="jump" onClick={jump}>
            {log.paused ? `Paused · ${log.pending.length.toLocaleString('en')} new` : '↓ Newest'}
          </button>
        )}
      </div>
    </section>
  )
  return drawn.current
}

/** What stands where no row is. */
function emptyText({ live, known, filtered }: { live: boolean; known: boolean; filtered: boolean }): string {
  if (!live) return 'Joining…'
  if (filtered) return 'Nothing yet. Only what the types and the mode let through is shown.'
  return known ? 'Nothing yet.' : 'Nothing yet. What is published to it shows here at once.'
}

function isTyping({ target }: KeyboardEvent): boolean {
  return (target as Element).closest('input, select, textarea') !== null
}

let lists = 0

/** A filter by type; takes effect when it is left or confirmed. */
export function TypesField({
  label,
  value,
  known,
  onChoose,
}: {
  readonly label: string
  readonly value: string
  readonly known: ReadonlyMap<string, number>
  readonly onChoose: (text: string) => void
}) {
  const [list] = useState(() => {
    lists += 1
    return `types-${lists}`
  })
  const [typed, type] = useState<string | undefined>(undefined)
  return (
    <>
      <input
        class="types"
        type="text"
        aria-label={label}
        placeholder="All types"
        title="Names, prefix*, and ! before either to exclude; separated by commas"
        list={list}
        value={typed ?? value}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="none"
        onInput={(event) => type(event.currentTarget.value)}
        onBlur={() => type(undefined)}
        onChange={(event) => {
          type(undefined)
          onChoose(event.currentTarget.value)
        }}
      />
      <datalist id={list}>
        {[...known.keys()].toSorted().map((type) => (
          <option value={type} />
        ))}
      </datalist>
    </>
  )
}

export function ModeField({
  label,
  value,
  onChoose,
}: {
  readonly label: string
  readonly value: PanelMode
  readonly onChoose: (mode: PanelMode) => void
}) {
  return (
    <select
      aria-label={label}
      title="full: everything; summary: without deltas; control: only what steers the run"
      value={value}
      onChange={(event) => onChoose(event.currentTarget.value as PanelMode)}
    >
      {panelModes.map((mode) => (
        <option value={mode}>{mode}</option>
      ))}
    </select>
  )
}
