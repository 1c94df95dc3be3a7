import type { NewEvent } from '../protocol/frames.js'
import { type Trace, type TraceContext, traceContext } from '../protocol/trace.js'

/** What a span says of itself at its end. */
export type Figures = Readonly<Record<string, string | number>>

export interface Span {
  /** By which what follows from it can be tied to it; absent when nobody records it. */
  readonly context: TraceContext | undefined
  /** @param error why it came to nothing */
  end(figures: Figures, error?: unknown): void
}

/** Takes the spans of a hub: how what was published was stored and delivered. None of its calls may throw. */
export interface Tracer {
  /** @param from what led to it: a span is a part of one trace, and comes after several */
  start(
    name: SpanName,
    from: { readonly parent?: TraceContext; readonly links: readonly TraceContext[] },
  ): Span
}

/** The events of one publish; one commit of the store; one turn's delivery. */
export type SpanName = 'runcast.publish' | 'runcast.commit' | 'runcast.flush'

// As many as OpenTelemetry keeps of one span.
const linksMax = 128

/** Ties the flush and the commit to the publishes that they are about: of one they are a part, of several they come after. */
export class Tracing {
  readonly #tracer: Tracer
  readonly #published = { commit: [] as TraceContext[], flush: [] as TraceContext[] }

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  /** @returns what `run` does, in a span that belongs to the trace of the first event that has one */
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

  /** @returns the span of what brings on all that was published since the one before; nothing where none of it is recorded */
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
