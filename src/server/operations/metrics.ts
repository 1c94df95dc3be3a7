import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Hub } from '../../hub/hub.js'
import type { HistogramReading } from '../../lib/histogram.js'
import type { Links } from '../links/links.js'
import {
  type Counted,
  type Measured,
  metricDefinitions,
  type Reading,
  type ServerCounts,
  type Source,
} from './metric-definitions.js'

/** The metrics of one hub and of the process in the text format of Prometheus. */
export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE
  readonly #registry = new Registry()
  readonly #read: () => Source
  #source: Source

  constructor({ hub, links, counts }: { hub: Hub; links: Links; counts: ServerCounts }) {
    this.#read = () => ({ ...hub.stats(), links, counts })
    this.#source = this.#read()
    for (const figure of metricDefinitions) {
      if (figure.kind !== 'histogram') register(this.#registry, figure, () => figure.read(this.#source))
    }
  }

  async text(): Promise<string> {
    // One reading is used for all metrics of an answer.
    this.#source = this.#read()
    const histograms = metricDefinitions.flatMap((figure) =>
      figure.kind === 'histogram' ? [histogramText(figure, figure.read(this.#source))] : [],
    )
    const [own, ofProcess] = await Promise.all([this.#registry.metrics(), processRegistry().metrics()])
    return [own, ...histograms, ofProcess].join('\n')
  }
}

function register(registry: Registry, { name, help, kind, label }: Counted, read: () => Reading): void {
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
  } else {
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
}

function each(
  label: string | undefined,
  reading: Reading,
  take: (labels: Record<string, string>, value: number) => void,
): void {
  if (typeof reading === 'number') return take({}, reading)
  for (const [name, value] of reading) take({ [label ?? 'name']: name }, value)
}

/**
 * A histogram in the text format, version 0.0.4. The hub counts it itself, because a call of prom-client would take longer than
 * the rest of a flush.
 */
function histogramText(
  { name, help, scale = 1 }: Measured,
  { bounds, counts, sum }: HistogramReading,
): string {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`]
  let count = 0
  for (const [index, bound] of [...bounds, Number.POSITIVE_INFINITY].entries()) {
    count += counts[index] ?? 0
    const le = bound === Number.POSITIVE_INFINITY ? '+Inf' : String(Number((bound * scale).toPrecision(12)))
    lines.push(`${name}_bucket{le="${le}"} ${count}`)
  }
  lines.push(`${name}_sum ${sum * scale}`, `${name}_count ${count}`)
  return `${lines.join('\n')}\n`
}

let ofProcess: Registry | undefined

/** Memory, event loop and the like belong to the process, which may contain several hubs. */
function processRegistry(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
