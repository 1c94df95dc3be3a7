import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'
import type { StateChange } from '../client/view-events.js'
import { base } from './base.js'
import { ModeField, TypesField } from './filter-fields.js'
import { ForkButton } from './fork-button.js'
import { countText, durationText, rateText, timeText } from './format.js'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'
import { Metadata } from './metadata.js'
import { type Fields, fieldsOf, type PanelMode } from './model.js'
import { Needs } from './needs.js'
import { Overview, type Worker } from './overview.js'
import { Panel } from './panel.js'
import { joinedEvents, type Meters } from './panel-feed.js'
import { addressOf, filterOf, home, type Place, showsWorker, toggled, withFilter } from './place.js'
import { Rate } from './rate.js'
import { RateChart } from './rate-chart.js'
import type { HubRequests } from './requests.js'
import { labelsOf, titleOf } from './session-list.js'
import { idleText } from './sessions.js'
import { Slices } from './slices.js'
import { byStanding, needsOf, numberOf, reasonOf, type Standing, standingOf, usageText } from './standing.js'
import { type Changed, StatePanel } from './state-panel.js'
import { StatusMark } from './status-mark.js'
import { useTarget } from './target.js'

/** The number of panels at first, and of each further step. Workers that need attention come first. */
const panelsStep = 60
/** Starting a panel takes milliseconds. */
const panelsPerFrame = 4

const sessionSlices = ['*', '$session', '$workers']

const noTypes: ReadonlyMap<string, number> = new Map()

/** One session: its own stream, a panel for each worker, and its state. */
export function SessionView({
  client,
  requests,
  place,
  meters,
  listed,
  now,
  onPlace,
  onStanding,
}: {
  readonly client: Client
  readonly requests: HubRequests
  readonly place: Place & { readonly session: string }
  readonly meters: Meters
  /** The session's entry in the hub's list. */
  readonly listed: Fields
  readonly now: number
  readonly onPlace: (place: Place) => void
  /** Called with the session's standing. */
  readonly onStanding: (standing: Standing) => void
}) {
  const { session } = place
  const [state, setState] = useState<Fields>({})
  const [rest, setRest] = useState({ paused: false })
  const [target, missing, mark] = useTarget(requests, place)
  const rates = useMemo(() => new Map<string, Rate>(), [session])
  const latest = useRef<Fields>({})
  const changes = useRef(new Map<string, Changed>())
  const seen = useRef(new Map<string, Fields>())

  const show = useRef(() => setState(latest.current)).current
  const onState = useRef((next: Fields, change: StateChange | undefined) => {
    latest.current = next
    if (change !== undefined) {
      changes.current.set(change.slice, { by: change.cause?.type ?? '', at: clientClock.now() })
    }
    onNextFrame(show)
  }).current
  useEffect(() => () => notOnNextFrame(show), [])

  // A hub without a store forgets its workers when it restarts; their panels stay.
  for (const [worker, about] of Object.entries(fieldsOf(state['$workers'])))
    seen.current.set(worker, fieldsOf(about))
  const about = fieldsOf(state['$session'])
  const workers: readonly Worker[] = byStanding(
    [...seen.current].toSorted((one, other) => startOf(one[1]) - startOf(other[1])),
    ([, each]) => each,
  )
  const isShown = (worker: string): boolean => showsWorker(place, worker)
  const shown = workers.filter(([worker]) => isShown(worker))
  const slices = useMemo(() => Object.entries(state).filter(([name]) => !name.startsWith('$')), [state])
  const [panelsMax, setPanelsMax] = useState(panelsStep)
  const [opened, setOpened] = useState<readonly string[]>([])
  const ranked = shown.filter(([worker]) => opened.includes(worker))
  const panels = [...ranked, ...shown.filter(([worker]) => !opened.includes(worker))].slice(0, panelsMax)
  const rateOf = (name: string): Rate => {
    const rate = rates.get(name) ?? new Rate()
    rates.set(name, rate)
    return rate
  }

  const choose = (types: string, mode: PanelMode) => {
    const { panels: _, ...others } = place
    onPlace({ ...others, types, mode })
  }
  const openPanel = (worker: string) => {
    if (!isShown(worker)) onPlace({ ...place, workers: toggled(place, worker) })
    // The first panels are drawn at once.
    if (panelOf(worker) === undefined) setOpened([worker, ...opened])
    // The panel exists only after the next frame.
    onNextFrame(() => panelOf(worker)?.scrollIntoView({ block: 'center' }))
    onNextFrame(() => panelOf(worker)?.querySelector<HTMLElement>('.log')?.focus({ preventScroll: true }))
  }
  useEffect(() => {
    if (target === undefined) return
    if (target.worker !== '') openPanel(target.worker)
    else document.querySelector('.panel.session')?.scrollIntoView({ block: 'center' })
  }, [target, workers.some(([worker]) => worker === target?.worker)])
  useEffect(() => {
    // The browser's own search sees only the rows that are drawn.
    const find = (event: KeyboardEvent) => {
      if (event.key === 'a' && !isModified(event) && !isTyping(event)) {
        const field = document.querySelector<HTMLElement>('.needs input, .needs .answers button')
        if (field === null) return
        event.preventDefault()
        field.focus()
        field.scrollIntoView({ block: 'center' })
        return
      }
      if (event.key !== 'f' || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return
      const from = event.target instanceof Element ? event.target : document.body
      if (from.closest('.find') !== null) return
      const panel = from.closest('.panel') ?? firstInSight()
      const button = panel?.querySelector<HTMLElement>('.opens-find')
      if (button === null || button === undefined) return
      event.preventDefault()
      button.click()
      panel?.querySelector<HTMLElement>('.find input')?.focus()
    }
    addEventListener('keydown', find)
    return () => removeEventListener('keydown', find)
  }, [])
  const only = (worker: string) => {
    const isOnly = shown.length === 1 && isShown(worker) && workers.length > 1
    onPlace({ ...place, workers: isOnly ? [] : [worker] })
  }
  const questions = needsOf(about) + workers.reduce((sum, [, each]) => sum + needsOf(each), 0)
  const standing = questions > 0 && about['status'] !== 'ended' ? 'asks' : standingOf(about)
  useEffect(() => onStanding(standing), [standing])
  const failed = workers.filter(([, each]) => ['failed', 'lost'].includes(standingOf(each)))
  const reason = reasonOf(about) || failed.map(([worker, each]) => `${worker}: ${reasonOf(each)}`).join(', ')
  // The more panels, the fewer events each begins with; earlier ones are loaded on scrolling.
  const lastMax = Math.max(100, Math.min(joinedEvents, Math.floor(6_000 / (panels.length + 1))))
  const panel = (worker: string, each: Fields) => (
    <Panel
      key={worker === '' ? 'session' : `worker ${worker}`}
      client={client}
      requests={requests}
      topic={`sessions/${session}${worker === '' ? '' : `/workers/${worker}`}`}
      name={worker === '' ? session : worker}
      kind={worker === '' ? 'session' : 'worker'}
      about={each}
      meters={meters}
      rate={rateOf(worker === '' ? '' : `w:${worker}`)}
      {...(worker === '' && { slices: sessionSlices, onState })}
      lastMax={lastMax}
      filter={filterOf(place, worker)}
      rest={rest}
      goal={target?.worker === worker ? target.goal : undefined}
      now={now}
      onFilter={(filter) => onPlace(withFilter(place, worker, filter))}
      hrefOf={(event) => addressOf({ ...place, event }, base)}
      onMark={(event) => {
        mark(event)
        onPlace({ ...place, event })
      }}
    />
  )
  const usage = usageText(about['usage'])
  const startedAt = about['startedAt']
  const endedAt = typeof about['endedAt'] === 'number' ? about['endedAt'] : now

  return (
    <main class="view" id="main" tabIndex={-1}>
      <div class="title">
        <div>
          <a
            class="back"
            href={base}
            onClick={(event) => {
              event.preventDefault()
              onPlace(home)
            }}
          >
            ‹ All sessions
          </a>
          <h1 title={session}>{titleOf(listed) || session}</h1>
          {(titleOf(listed) !== '' || labelsOf(listed).length > 0) && (
            <p class="facts">
              {titleOf(listed) !== '' && <span>{session}</span>}
              {labelsOf(listed).map((label) => (
                <span key={label} class="label">
                  {label}
                </span>
              ))}
            </p>
          )}
          <p class="facts">
            <StatusMark standing={standing} word />
            {typeof startedAt === 'number' && (
              <span title={`Began ${timeText(startedAt)}`}>{durationText(endedAt - startedAt)}</span>
            )}
            {typeof about['endedAt'] === 'number' && (
              <span title={timeText(endedAt)}>ended {durationText(now - endedAt, 'coarse')} ago</span>
            )}
            {about['endedAt'] === undefined && idleText(about, now) !== '' && (
              <span>{idleText(about, now)}</span>
            )}
            <span>{rateText(meters.total.perSecond(now))}</span>
            <span>{countText(workers.length, 'worker')}</span>
            {usage !== '' && <span>{usage}</span>}
          </p>
          {reason !== '' && standing !== 'succeeded' && standing !== 'asks' && (
            <p class={`why ${failed.length > 0 ? 'failed' : standing}`}>{reason}</p>
          )}
        </div>
        <RateChart rate={meters.total} now={now} />
      </div>
      <div class="controls" role="group" aria-labelledby="all-panels">
        <span id="all-panels">All panels</span>
        <TypesField
          label="Types shown in all panels"
          value={place.types}
          known={noTypes}
          onChoose={(types) => choose(types, place.mode)}
        />
        <ModeField
          label="Mode of all panels"
          value={place.mode}
          onChoose={(mode) => choose(place.types, mode)}
        />
        <button
          type="button"
          class={rest.paused ? 'on' : ''}
          onClick={() => setRest({ paused: !rest.paused })}
        >
          {rest.paused ? 'Resume all' : 'Pause all'}
        </button>
        <ForkButton
          key={session}
          client={client}
          session={session}
          onFork={(fork) => onPlace({ ...home, session: fork })}
        />
        {place.workers.length > 0 && (
          <button type="button" class="on" onClick={() => onPlace({ ...place, workers: [] })}>
            {countText(shown.length, 'worker')} shown · Show all
          </button>
        )}
      </div>
      {missing !== '' && (
        <p class="why" role="alert">
          {missing}
        </p>
      )}
      <Needs
        client={client}
        now={now}
        asking={[
          { topic: `sessions/${session}`, name: session, about },
          ...workers.map(([worker, each]) => ({
            topic: `sessions/${session}/workers/${worker}`,
            name: worker,
            about: each,
          })),
        ]}
      />
      {workers.length > 0 && (
        <Overview
          workers={workers}
          now={now}
          isShown={isShown}
          onOpen={openPanel}
          onOnly={only}
          onHide={(worker) => onPlace({ ...place, workers: toggled(place, worker) })}
        />
      )}
      <Metadata requests={requests} session={session} />
      <div class={`grid ${panels.length === 1 ? 'one' : ''}`}>
        {panel('', about)}
        {slices.length > 0 && (
          <StatePanel slices={slices} changes={changes.current} now={Math.floor(now / 10_000) * 10_000} />
        )}
        <Slices step={panelsPerFrame}>{panels.map(([worker, each]) => panel(worker, each))}</Slices>
      </div>
      {shown.length > panels.length && (
        <p class="more-panels">
          <button type="button" onClick={() => setPanelsMax(panelsMax + panelsStep)}>
            Show {Math.min(panelsStep, shown.length - panels.length)} more panels
          </button>{' '}
          of {countText(shown.length - panels.length, 'worker')} that are not shown; a click on a row above
          opens one.
        </p>
      )}
    </main>
  )
}

function startOf(about: Fields): number {
  return numberOf(about['startedAt'])
}

function panelOf(worker: string): Element | undefined {
  return [...document.querySelectorAll('[data-panel].worker')].find(
    (panel) => panel.getAttribute('data-panel') === worker,
  )
}

function isModified({ ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
  return ctrlKey || metaKey || altKey
}

function isTyping({ target }: KeyboardEvent): boolean {
  return target instanceof Element && target.closest('input, select, textarea') !== null
}

/** @returns the first visible panel, of a worker if there is one: the one to search if none has the focus */
function firstInSight(): Element | undefined {
  const all = [...document.querySelectorAll('.panel.worker, .panel.session')].filter((panel) => {
    const { top, bottom } = panel.getBoundingClientRect()
    return bottom > 60 && top < innerHeight - 60
  })
  return all.find((panel) => panel.matches('.worker')) ?? all[0]
}
