import type * as Api from '@opentelemetry/api'
import { type TraceContext, traceContext } from '../../protocol/trace.js'
import type { Span, Tracer } from '../../session/tracing.js'

/**
 * Spans of the hub for OpenTelemetry: `createHub({ tracer: openTelemetry(api) })`.
 *
 * @param api the package `@opentelemetry/api` (1.x); the registered SDK decides where its spans go
 */
export function openTelemetry(api: typeof Api): Tracer {
  const { context, createTraceState, SpanKind, SpanStatusCode, trace, TraceFlags } = api
  const tracer = trace.getTracer('runcast')
  const contextOf = (from: TraceContext): Api.SpanContext => {
    const [, traceId = '', spanId = '', flags = ''] = from.trace.split('-')
    const known = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true }
    return from.tracestate === undefined ? known : { ...known, traceState: createTraceState(from.tracestate) }
  }
  return {
    start(name, { parent, links }): Span {
      // A publisher within the process may have an active span.
      const around = context.active()
      const span = tracer.startSpan(
        name,
        {
          kind: name === 'runcast.publish' ? SpanKind.PRODUCER : SpanKind.INTERNAL,
          links: links.map((link) => ({ context: contextOf(link) })),
        },
        parent === undefined ? around : trace.setSpanContext(around, contextOf(parent)),
      )
      const { traceId, spanId, traceFlags, traceState } = span.spanContext()
      const recorded = (traceFlags & TraceFlags.SAMPLED) !== 0
      const tracestate = traceState?.serialize()
      return {
        context: recorded ? traceContext(`00-${traceId}-${spanId}-01`, tracestate) : undefined,
        end(figures, error) {
          for (const [figure, value] of Object.entries(figures)) span.setAttribute(`runcast.${figure}`, value)
          if (error !== undefined) {
            const cause = error instanceof Error ? error : new Error('not an error')
            span.recordException(cause)
            span.setStatus({ code: SpanStatusCode.ERROR, message: cause.message })
          }
          span.end()
        },
      }
    },
  }
}
