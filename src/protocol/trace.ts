/** A `traceparent` (W3C Trace Context, section 3.2): by it a tracer knows to which trace something belongs. */
export type Trace = string

/** A `tracestate` (section 3.3): what tracers keep beside the `traceparent`, a list of `key=value`. */
export type TraceState = string

/** The trace that something belongs to, with what tracers keep beside it. */
export interface TraceContext {
  readonly trace: Trace
  readonly tracestate?: TraceState
}

// Versions after 00 may add fields, which nobody has yet; all zeros name nothing; version ff is none.
const tracePattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function isTrace(value: unknown): value is Trace {
  return typeof value === 'string' && tracePattern.test(value)
}

// As much as everybody has to hand on (section 3.3.1.5), and as many as there may be.
const traceStateLengthMax = 512
const traceStateMembersMax = 32

// Keys as level 2 of the standard has them, which are those of level 1 and some more. A member may be empty.
const memberPattern = /^[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*)?$/

export function isTraceState(value: unknown): value is TraceState {
  if (typeof value !== 'string' || value.length === 0 || value.length > traceStateLengthMax) return false
  const members = value.split(',')
  return members.length <= traceStateMembersMax && members.every((member) => memberPattern.test(member))
}

/**
 * @param trace what may be a `traceparent`
 * @param tracestate what may be a `tracestate`: one that is not valid counts for nothing (section 3.3)
 * @returns nothing where `trace` is not valid, for a `tracestate` says nothing without it
 */
export function traceContext(trace: unknown, tracestate: unknown): TraceContext | undefined {
  if (!isTrace(trace)) return undefined
  return isTraceState(tracestate) ? { trace, tracestate } : { trace }
}
