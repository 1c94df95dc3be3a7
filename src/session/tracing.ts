import type { NewEvent } from '../protocol/frames.js'
import { type Trace, type TraceContext, traceContext } from '../protocol/trace.js'

/** The attributes of a span at its end. */
export type Figures = Readonly<Record<string, string | number>>

export interface Span {
  /** The context for spans that follow from it; absent if it is not recorded. */
  readonly context: TraceContext | undefined
  /** @param error the reason of a failure */
  end(figures: Figures, error?: unknown): void
}

/** Receives the spans of a hub for publishing, storing and delivering. Its calls must not throw. */
export interface Tracer {
  /** @param from the spans that led to it: a parent, or links to several */
  start(
    name: SpanName,
    from: { readonly parent?: TraceContext; readonly links: readonly TraceContext[] },
  ): Span
}

/** The events of one publish; one commit of the store; one turn's delivery. */
export type SpanName = 'runcast.publish' | 'runcast.commit' | 'runcast.flush'

// OpenTelemetry's limit of links of a span.
const linksMax = 128

/** Connects flush and commit with their publishes: as children of one, or with links to several. */
export class Tracing {
  readonly #tracer: Tracer
  readonly #published = { commit: [] as TraceContext[], flush: [] as TraceContext[] }

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  /** @returns the result of `run`, in a span of the trace of the first event that has one */
  publish<Result extends Figures>(topic: string, events: readonly NewEvent[], run: () => Result): Result {
    const [parent, ...links] = contextsOf(events)
    const span = this.#tracer.start('runcast.publish', { ...(parent && { parent }), links })
    try {
      const result = run()
      const { context } = span
      if (context !== undefined) for (const list of Object.values(this.#published)) add(list, context)
      span.end({ topic, ...result })
      return result
    } catch (error) {
      span.end({ topic }, error)
      throw error
    }
  }

  /**
   * `publish` to a log.
   *
   * @param run calls its argument when the events are applied at this hub, before they are delivered
   */
  async submit<Result extends Figures>(
    topic: string,
    events: readonly NewEvent[],
    run: (applied: () => void) => Promise<Result>,
  ): Promise<Result> {
    const [parent, ...links] = contextsOf(events)
    const span = this.#tracer.start('runcast.publish', { ...(parent && { parent }), links })
    const { context } = span
    try {
      const result = await run(() => {
        if (context !== undefined) add(this.#published.flush, context)
      })
      span.end({ topic, ...result })
      return result
    } catch (error) {
      span.end({ topic }, error)
      throw error
    }
  }

  /**
   * @returns the span of a flush or commit of everything published since the previous one; undefined if none of it is recorded
   */
  begin(name: 'commit' | 'flush'): Span | undefined {
    const contexts = this.#published[name]
    if (contexts.length === 0) return undefined
    this.#published[name] = []
    const [parent] = contexts
    const from = contexts.length === 1 && parent !== undefined ? { parent, links: [] } : { links: contexts }
    return this.#tracer.start(`runcast.${name}`, from)
  }
}

/** @returns the contexts of the events, each trace once; the events may not have been checked yet */
function contextsOf(events: readonly NewEvent[]): TraceContext[] {
  const contexts = new Map<Trace, TraceContext>()
  for (const event of events) {
    const context = traceContext(event.trace, event.tracestate)
    if (context !== undefined && !contexts.has(context.trace)) contexts.set(context.trace, context)
    if (contexts.size === linksMax) break
  }
  return [...contexts.values()]
}

function add(list: TraceContext[], context: TraceContext): void {
  if (list.length < linksMax) list.push(context)
}
