import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { base } from './base.js'
import { durationText, rateText } from './format.js'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'
import { type Fields, fieldsOf, type Json, type PanelMode } from './model.js'
import { type Choice, type Meters, ModeField, Panel, StatusDot, TypesField } from './panel.js'
import { home, type Place } from './place.js'
import { Rate } from './rate.js'
import { RateChart } from './rate-chart.js'
import { StateTree } from './state-tree.js'

const noTypes: ReadonlyMap<string, number> = new Map()

/** One session: its own stream, a panel for each worker, and its state. */
export function SessionView({
  client,
  place,
  meters,
  now,
  onPlace,
}: {
  readonly client: Client
  readonly place: Place & { readonly session: string }
  readonly meters: Meters
  readonly now: number
  readonly onPlace: (place: Place) => void
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
  const workers = [...seen.current]
  const shown = workers.filter(([worker]) => place.workers.length === 0 || place.workers.includes(worker))
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
  const toggle = (worker: string) => {
    const all = workers.map(([each]) => each)
    const before = place.workers.length === 0 ? all : place.workers
    const after = before.includes(worker) ? before.filter((each) => each !== worker) : [...before, worker]
    onPlace({ ...place, workers: after.length === all.length ? [] : after })
  }
  const status = typeof about['status'] === 'string' ? about['status'] : 'waiting'
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
          <h1 title={session}>{session}</h1>
          <p class="facts">
            <StatusDot status={status} />
            <span>{status}</span>
            {typeof startedAt === 'number' && <span>{durationText(endedAt - startedAt)}</span>}
            <span>{rateText(meters.total.perSecond(now))}</span>
            <span>
              {workers.length} {workers.length === 1 ? 'worker' : 'workers'}
            </span>
          </p>
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
        <span class="chips" role="group" aria-label="Workers shown">
          {workers.map(([worker, { status: each }]) => (
            <button
              type="button"
              class="chip"
              key={worker}
              title={`${worker}${typeof each === 'string' ? ` · ${each}` : ''}`}
              aria-pressed={place.workers.length === 0 || place.workers.includes(worker)}
              onClick={() => toggle(worker)}
            >
              <StatusDot status={typeof each === 'string' ? each : ''} />
              <span>{worker}</span>
            </button>
          ))}
        </span>
      </div>
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
