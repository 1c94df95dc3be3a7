import { explainFault, type JsonValue, measure } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { typePattern } from '../protocol/topic.js'
import { isTrace, isTraceState } from '../protocol/trace.js'

// Type names that passed the pattern, so that it is asked once each; bounded, for names are the producers'.
const knownTypesMax = 4_096

/** Finds out whether what is published is valid, and how large it is. */
export class EventCheck {
  readonly #limits: Limits
  readonly #knownTypes = new Set<string>()

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /**
   * @returns the sizes of the events, in bytes, once all of them have been found valid
   * @throws ProtocolError with the place in `events` of the first one that is not
   */
  sizes(events: readonly NewEvent[]): number[] {
    const sizes: number[] = []
    for (let i = 0; i < events.length; i++) {
      const { type, data, key, trace, tracestate } = events[i] as NewEvent
      if (!this.#isType(type)) {
        const message = `type: expected 1–128 of A–Z a–z 0–9 . _ : -, got ${quote(type)}`
        throw new ProtocolError('badFrame', message, { pointer: `/${i}/type` })
      }
      if (trace !== undefined && !isTrace(trace)) {
        const message = `trace: expected a traceparent 00-<trace>-<span>-<flags>, got ${quote(trace)}`
        throw new ProtocolError('badFrame', message, { pointer: `/${i}/trace` })
      }
      if (tracestate !== undefined && !isTraceState(tracestate)) {
        const message = `tracestate: expected a tracestate key=value,…, got ${quote(tracestate)}`
        throw new ProtocolError('badFrame', message, { pointer: `/${i}/tracestate` })
      }
      const named = type.length + (key?.length ?? 0) + (tracestate?.length ?? 0)
      sizes.push(this.size(data ?? null, 'data', `/${i}/data`) + named + 64)
    }
    return sizes
  }

  /**
   * @returns about the bytes of the value's JSON text
   * @throws ProtocolError `frameTooLarge`, or `badFrame` where it is no JSON or too deep, with the place below `pointer`
   */
  size(value: JsonValue, field: string, pointer = ''): number {
    const { depthMax, frameBytesMax } = this.#limits
    const bytes = measure(value, depthMax)
    if (bytes > frameBytesMax) {
      throw new ProtocolError('frameTooLarge', `${field}: expected at most ${frameBytesMax} bytes`, {
        pointer,
      })
    }
    if (bytes >= 0) return bytes
    const fault = explainFault(value, depthMax)
    throw new ProtocolError('badFrame', `${field}: ${fault.problem}`, { pointer: pointer + fault.pointer })
  }

  #isType(type: string): boolean {
    if (this.#knownTypes.has(type)) return true
    if (typeof type !== 'string' || !typePattern.test(type)) return false
    if (this.#knownTypes.size < knownTypesMax) this.#knownTypes.add(type)
    return true
  }
}
