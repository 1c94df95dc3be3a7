/** A `traceparent` (W3C Trace Context, section 3.2), which identifies a trace and a span. */
export type Trace = string

/** A `tracestate` (section 3.3): a list of `key=value` in which tracers keep data of their own. */
export type TraceState = string

/** A `traceparent` with its `tracestate`. */
export interface TraceContext {
  readonly trace: Trace
  readonly tracestate?: TraceState
}

// Versions after 00 may add fields, but none exists yet. Ids of zeros and the version ff are invalid.
const tracePattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function isTrace(value: unknown): value is Trace {
  return typeof value === 'string' && tracePattern.test(value)
}

// The length that everybody must pass on (section 3.3.1.5), and the maximum number of members.
const traceStateLengthMax = 512
const traceStateMembersMax = 32

// Keys as in level 2 of the standard, which allows more than level 1. A member may be empty.
const memberPattern = /^[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*)?$/

export function isTraceState(value: unknown): value is TraceState {
  if (typeof value !== 'string' || value.length === 0 || value.length > traceStateLengthMax) return false
  const members = value.split(',')
  return members.length <= traceStateMembersMax && members.every((member) => memberPattern.test(member))
}

/**
 * @param trace possibly a `traceparent`
 * @param tracestate possibly a `tracestate`; an invalid one is ignored (section 3.3)
 * @returns undefined if `trace` is not valid, because a `tracestate` has no meaning without it
 */
export function traceContext(trace: unknown, tracestate: unknown): TraceContext | undefined {
  if (!isTrace(trace)) return undefined
  return isTraceState(tracestate) ? { trace, tracestate } : { trace }
}
