import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { base } from './base.js'
import { countText, durationText, rateText, timeText } from './format.js'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'
import { type Fields, fieldsOf, type Json, type PanelMode } from './model.js'
import { Needs } from './needs.js'
import { Overview, type Worker } from './overview.js'
import { type Choice, type Meters, ModeField, Panel, TypesField } from './panel.js'
import { home, type Place, showsWorker, toggled } from './place.js'
import { Rate } from './rate.js'
import { RateChart } from './rate-chart.js'
import { idleText, labelsOf, titleOf } from './sessions.js'
import { byStanding, needsOf, numberOf, reasonOf, type Standing, standingOf, usageText } from './standing.js'
import { StateTree } from './state-tree.js'
import { StatusMark } from './status-mark.js'

const noTypes: ReadonlyMap<string, number> = new Map()

/** One session: its own stream, a panel for each worker, and its state. */
export function SessionView({
  client,
  place,
  meters,
  listed,
  now,
  onPlace,
  onStanding,
}: {
  readonly client: Client
  readonly place: Place & { readonly session: string }
  readonly meters: Meters
  /** What the hub's list says of it. */
  readonly listed: Fields
  readonly now: number
  readonly onPlace: (place: Place) => void
  /** Told how the session stands. */
  readonly onStanding: (standing: Standing) => void
}) {
  const { session } = place
  const [state, setState] = useState<Fields>({})
  const [choice, setChoice] = useState<Choice>({ types: place.types, mode: place.mode, paused: false })
  const rates = useMemo(() => new Map<string, Rate>(), [session])
  const latest = useRef<Fields>({})
  const seen = useRef(new Map<string, Fields>())

  useEffect(() => {
    const show = () => setState(latest.current)
    const subscription = client.subscribe(
      { topic: `sessions/${session}`, mode: 'control', replay: false, slices: ['*', '$session', '$workers'] },
      {
        onEvent() {},
        onState(next) {
          latest.current = next
          onNextFrame(show)
        },
      },
    )
    return () => {
      notOnNextFrame(show)
      subscription.close()
    }
  }, [client, session])

  // A hub that has lost its memory does not know them any more; their panels stay.
  for (const [worker, about] of Object.entries(fieldsOf(state['$workers'])))
    seen.current.set(worker, fieldsOf(about))
  const about = fieldsOf(state['$session'])
  const workers: readonly Worker[] = byStanding(
    [...seen.current].toSorted((one, other) => startOf(one[1]) - startOf(other[1])),
    ([, each]) => each,
  )
  const isShown = (worker: string): boolean => showsWorker(place, worker)
  const shown = workers.filter(([worker]) => isShown(worker))
  const slices = Object.entries(state).filter(([name]) => !name.startsWith('$'))
  const rateOf = (name: string): Rate => {
    const rate = rates.get(name) ?? new Rate()
    rates.set(name, rate)
    return rate
  }

  const choose = (types: string, mode: PanelMode) => {
    setChoice({ ...choice, types, mode })
    onPlace({ ...place, types, mode })
  }
  const openPanel = (worker: string) => {
    if (!isShown(worker)) onPlace({ ...place, workers: toggled(place, worker) })
    // Once it is drawn.
    onNextFrame(() => panelOf(worker)?.scrollIntoView({ block: 'center' }))
    onNextFrame(() => panelOf(worker)?.querySelector<HTMLElement>('.log')?.focus({ preventScroll: true }))
  }
  const only = (worker: string) => {
    const isOnly = shown.length === 1 && isShown(worker) && workers.length > 1
    onPlace({ ...place, workers: isOnly ? [] : [worker] })
  }
  const asked = needsOf(about) + workers.reduce((sum, [, each]) => sum + needsOf(each), 0)
  const standing = asked > 0 && about['status'] !== 'ended' ? 'asks' : standingOf(about)
  useEffect(() => onStanding(standing), [standing])
  const failed = workers.filter(([, each]) => ['failed', 'lost'].includes(standingOf(each)))
  const reason = reasonOf(about) || failed.map(([worker, each]) => `${worker}: ${reasonOf(each)}`).join(', ')
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
          value={choice.types}
          known={noTypes}
          onChoose={(types) => choose(types, choice.mode)}
        />
        <ModeField
          label="Mode of all panels"
          value={choice.mode}
          onChoose={(mode) => choose(choice.types, mode)}
        />
        <button
          type="button"
          class={choice.paused ? 'on' : ''}
          onClick={() => setChoice({ ...choice, paused: !choice.paused })}
        >
          {choice.paused ? 'Resume all' : 'Pause all'}
        </button>
        {place.workers.length > 0 && (
          <button type="button" class="on" onClick={() => onPlace({ ...place, workers: [] })}>
            {countText(shown.length, 'worker')} shown · Show all
          </button>
        )}
      </div>
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
      <div class="grid">
        <Panel
          client={client}
          topic={`sessions/${session}`}
          name={session}
          kind="session"
          about={about}
          meters={meters}
          rate={rateOf('')}
          choice={choice}
          now={now}
        />
        {slices.length > 0 && <State slices={slices} />}
        {shown.map(([worker, each]) => (
          <Panel
            key={worker}
            client={client}
            topic={`sessions/${session}/workers/${worker}`}
            name={worker}
            kind="worker"
            about={each}
            meters={meters}
            rate={rateOf(`w:${worker}`)}
            choice={choice}
            now={now}
          />
        ))}
      </div>
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

function State({ slices }: { readonly slices: readonly (readonly [string, Json])[] }) {
  return (
    <section class="panel state" aria-labelledby="state">
      <header>
        <h2 id="state">State</h2>
        <span class="figures">
          <span>
            {slices.length} {slices.length === 1 ? 'slice' : 'slices'}
          </span>
        </span>
      </header>
      {/* It scrolls, so it must be reachable by keyboard. */}
      <div class="tree" tabIndex={0} role="group" aria-label="State of the session">
        {slices.map(([name, value]) => (
          <StateTree key={name} name={name} value={value} depth={0} />
        ))}
      </div>
    </section>
  )
}
