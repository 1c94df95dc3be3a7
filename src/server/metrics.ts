import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Hub, HubStats } from '../hub/hub.js'
import { type CloseCode, closeCodes } from '../protocol/codes.js'
import type { GapReason } from '../protocol/frames.js'
import { type Links, linkKinds } from './links.js'

// Told as 0 before they have happened, so that whoever watches can tell "never" from "not there".
const gapReasons: readonly GapReason[] = ['epoch', 'evicted', 'lagging']
const closeNames = Object.keys(closeCodes) as readonly CloseCode[]

/** One number, or one for each value of a label. */
type Reading = number | Iterable<readonly [label: string, value: number]>

interface Figure {
  readonly name: string
  readonly help: string
  readonly kind: 'counter' | 'gauge'
  readonly label?: string
  read(stats: HubStats): Reading
}

/** What `/metrics` says of a hub, in the order of `docs/operations/metrics.md`. */
function figuresOf(links: Links): readonly Figure[] {
  return [
    {
      name: 'runcast_events_published_total',
      help: 'Events that were published, duplicates left out.',
      kind: 'counter',
      read: ({ published }) => published,
    },
    {
      name: 'runcast_events_duplicate_total',
      help: 'Events that were left out because their id had been published before.',
      kind: 'counter',
      read: ({ duplicates }) => duplicates,
    },
    {
      name: 'runcast_events_delivered_total',
      help: 'Events that were handed to connections, one for each connection.',
      kind: 'counter',
      read: ({ delivered }) => delivered,
    },
    {
      name: 'runcast_encodings_total',
      help: 'Events that were encoded: once per codec, whatever the number of subscribers.',
      kind: 'counter',
      label: 'codec',
      read: ({ encodings }) => encodings,
    },
    {
      name: 'runcast_state_comparisons_total',
      help: 'Changes of state that were asked for, each compared once with the value before.',
      kind: 'counter',
      read: ({ state }) => state.comparisons,
    },
    {
      name: 'runcast_state_updates_total',
      help: 'Changes of state that were published.',
      kind: 'counter',
      label: 'form',
      read: ({ state }) => [
        ['patch', state.patches],
        ['value', state.values],
        ['removed', state.removals],
      ],
    },
    {
      name: 'runcast_state_patch_bytes_total',
      help: 'JSON text of the changes of state that were published as patches.',
      kind: 'counter',
      read: ({ state }) => state.patchBytes,
    },
    {
      name: 'runcast_state_value_bytes_total',
      help: 'JSON text of the changes of state that were published as values.',
      kind: 'counter',
      read: ({ state }) => state.valueBytes,
    },
    {
      name: 'runcast_gaps_total',
      help: 'Gaps that subscriptions were told of.',
      kind: 'counter',
      label: 'reason',
      read: ({ gaps }) => gapReasons.map((reason) => [reason, gaps.get(reason) ?? 0] as const),
    },
    {
      name: 'runcast_closed_total',
      help: 'Connections that the hub closed.',
      kind: 'counter',
      label: 'code',
      read: ({ closed }) =>
        closeNames.map((name) => [String(closeCodes[name]), closed.get(name) ?? 0] as const),
    },
    {
      name: 'runcast_connections',
      help: 'Open connections.',
      kind: 'gauge',
      label: 'transport',
      read: () => linkKinds.map((kind) => [kind, links.count(kind)] as const),
    },
    {
      name: 'runcast_sessions',
      help: 'Sessions that the hub holds.',
      kind: 'gauge',
      read: ({ sessions }) => sessions,
    },
    {
      name: 'runcast_subscriptions',
      help: 'Subscriptions of all connections.',
      kind: 'gauge',
      read: ({ subscriptions }) => subscriptions,
    },
    {
      name: 'runcast_subscriptions_lagging',
      help: 'Subscriptions that are catching up from history.',
      kind: 'gauge',
      read: ({ lagging }) => lagging,
    },
    {
      name: 'runcast_feeds',
      help: 'Topics seen through one filter, each matched and encoded once.',
      kind: 'gauge',
      read: ({ feeds }) => feeds,
    },
  ]
}

/** The figures of one hub in the text format of Prometheus, with those of the process. */
export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE
  readonly #registry = new Registry()

  constructor(hub: Hub, links: Links) {
    // One reading serves all the figures of an answer; they are collected in order.
    let stats = hub.stats()
    const figures = figuresOf(links)
    for (const figure of figures) {
      register(this.#registry, figure, () => {
        if (figure === figures[0]) stats = hub.stats()
        return figure.read(stats)
      })
    }
  }

  async text(): Promise<string> {
    const [own, ofProcess] = await Promise.all([this.#registry.metrics(), processRegistry().metrics()])
    return `${own}\n${ofProcess}`
  }
}

function register(registry: Registry, { name, help, kind, label }: Figure, read: () => Reading): void {
  const labelNames = label === undefined ? [] : [label]
  const registers = [registry]
  if (kind === 'counter') {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        counter.reset()
        each(label, read(), (labels, value) => counter.inc(labels, value))
      },
    })
    return
  }
  const gauge: Gauge = new Gauge({
    name,
    help,
    labelNames,
    registers,
    collect() {
      gauge.reset()
      each(label, read(), (labels, value) => gauge.set(labels, value))
    },
  })
}

function each(
  label: string | undefined,
  reading: Reading,
  take: (labels: Record<string, string>, value: number) => void,
): void {
  if (typeof reading === 'number') return take({}, reading)
  for (const [name, value] of reading) take({ [label ?? 'name']: name }, value)
}

let ofProcess: Registry | undefined

/** Memory, event loop and the like are the process's, whatever the number of hubs in it. */
function processRegistry(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
