/** A `traceparent` (W3C Trace Context, section 3.2): by it a tracer knows to which trace something belongs. */
export type Trace = string

// Versions after 00 may add fields, which nobody has yet; all zeros name nothing; version ff is none.
const tracePattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export function isTrace(value: unknown): value is Trace {
  return typeof value === 'string' && tracePattern.test(value)
}
