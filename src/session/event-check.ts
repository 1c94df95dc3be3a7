import type { Catalog } from '../catalog/catalog.js'
import { mergeTextOf, withTextAt } from '../catalog/merge.js'
import type { Traits } from '../catalog/traits.js'
import { type JsonValue, measure } from '../lib/json.js'
import { isWellFormed } from '../lib/text.js'
import { checkCause, checkEvent } from '../protocol/check.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { checkCommand, checkReceipt } from '../protocol/command-check.js'
import type { Cause, NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { expectedType, isOwnType, isType } from '../protocol/topic.js'
import { canonicalValue, tooWide } from '../protocol/value.js'

// Maximum of type names remembered as valid, because producers choose the names.
const knownTypesMax = 4_096

/** Checked events. */
export interface CheckedEvents {
  readonly events: readonly NewEvent[]
  /** About the bytes of each event. */
  readonly sizes: readonly number[]
  /** Whether they include commands or receipts. */
  readonly steers: boolean
}

/** A checked value. */
export interface CheckedValue {
  readonly value: JsonValue
  /** About the bytes of its JSON text. */
  readonly bytes: number
}

/** Checks published events, measures them, and makes their values canonical. Every event passes here. */
export class EventCheck {
  readonly #limits: Limits
  readonly #catalog: Catalog
  readonly #knownTypes = new Set<string>()

  constructor(limits: Limits, catalog: Catalog) {
    this.#limits = limits
    this.#catalog = catalog
  }

  /**
   * @returns the events with canonical `data`, if all of them are valid. Mergeable texts are not changed, because a lone
   *   surrogate at the end belongs to the next event.
   * @throws ProtocolError with the place in `events` of the first invalid one
   */
  events(given: readonly NewEvent[]): CheckedEvents {
    if (!Array.isArray(given)) {
      throw new ProtocolError('badFrame', `events: expected a list of events, got ${quote(given)}`)
    }
    let events = given
    // Most lists have one event, and what is pushed to an empty array makes it 17 long.
    const sizes = given.length === 1 ? [0] : []
    let steers = false
    for (let i = 0; i < given.length; i++) {
      const event = given[i] as NewEvent
      const isCommand = this.#checkFields(event, i)
      const { type, key, tracestate } = event
      const data = event.data ?? null
      let bytes = measure(data, this.#limits.depthMax, this.#limits.namesMax)
      if (bytes < 0 || bytes > this.#limits.frameBytesMax) {
        const checked = this.#closely(data, 'data', `/${i}/data`)
        bytes = checked.bytes
        if (events === given) events = given.slice()
        ;(events as NewEvent[])[i] = {
          ...event,
          data: withText(checked.value, data, this.#catalog.traitsOf(type)),
        }
      }
      if (isCommand) {
        steers = true
        this.#checkCommand(events[i] as NewEvent, bytes, i)
      }
      sizes[i] = bytes + type.length + (key?.length ?? 0) + (tracestate?.length ?? 0) + 64
    }
    return { events, sizes, steers }
  }

  /** @throws ProtocolError `frameTooLarge`, or `badFrame` if it is not JSON or too deep, with the place below `pointer` */
  value(value: JsonValue, field: string, pointer = ''): CheckedValue {
    const bytes = measure(value, this.#limits.depthMax, this.#limits.namesMax)
    if (bytes >= 0 && bytes <= this.#limits.frameBytesMax) return { value, bytes }
    return this.#closely(value, field, pointer)
  }

  /** @throws ProtocolError when it is not a cause, or its payload is not JSON */
  cause(cause: Cause): Cause {
    const { payload } = checkCause(cause, this.#limits, 'cause')
    return payload === undefined ? cause : { ...cause, payload: this.value(payload, 'cause.payload').value }
  }

  #closely(given: JsonValue, field: string, pointer: string): CheckedValue {
    const { depthMax, frameBytesMax, namesMax } = this.#limits
    const value = canonicalValue(given, { field, pointer, depthMax, bytesMax: frameBytesMax })
    const bytes = measure(value, depthMax, namesMax)
    if (bytes < 0) throw tooWide(field, namesMax, pointer)
    if (bytes <= frameBytesMax) return { value, bytes }
    throw new ProtocolError('frameTooLarge', `${field}: expected at most ${frameBytesMax} bytes`, { pointer })
  }

  /**
   * Input from the wire has been checked before; calls within the process have not.
   *
   * @returns whether it is a command, or a receipt
   */
  #checkFields(event: NewEvent, index: number): boolean {
    try {
      if (!isPlain(event)) checkEvent(event, this.#limits)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      throw new ProtocolError(error.code, error.message, { pointer: `/${index}${error.place.pointer ?? ''}` })
    }
    return !this.#knownTypes.has(event.type) && this.#checkType(event.type, index)
  }

  /** @returns whether the type is a command or a receipt, whose events are all checked */
  #checkType(type: string, index: number): boolean {
    const place = { pointer: `/${index}/type` }
    if (typeof type !== 'string' || !isType(type, this.#limits)) {
      throw new ProtocolError(
        'badFrame',
        `type: expected ${expectedType(this.#limits)}, got ${quote(type)}`,
        place,
      )
    }
    if (isOwnType(type)) throw new ProtocolError('badFrame', `type: ${ownTypeProblem(type)}`, place)
    if (this.#catalog.traitsOf(type).command !== undefined) return true
    if (this.#knownTypes.size < knownTypesMax) this.#knownTypes.add(type)
    return false
  }

  #checkCommand({ type, data }: NewEvent, bytes: number, index: number): void {
    const { commandBytesMax } = this.#limits
    const pointer = `/${index}/data`
    if (bytes > commandBytesMax) {
      throw new ProtocolError('frameTooLarge', `${type}: expected at most ${commandBytesMax} bytes`, {
        pointer,
      })
    }
    const isReceipt = this.#catalog.traitsOf(type).command === 'receipt'
    if (isReceipt) checkReceipt(data, this.#limits, { name: type, pointer })
    else checkCommand(data, this.#limits, { name: type, pointer })
  }
}

/** @returns whether it has only a type and data. No list of names is created, because this runs for each event. */
function isPlain(event: NewEvent): boolean {
  if (typeof event !== 'object' || event === null) return false
  for (const name in event) if (name !== 'type' && name !== 'data') return false
  return true
}

function ownTypeProblem(type: string): string {
  const instead =
    type === 'complete' ? '; end the session instead, or say execution_completed for a worker' : ''
  return `${type} is the hub's own and cannot be published${instead}`
}

/** @returns the data with its original mergeable text */
function withText(value: JsonValue, given: JsonValue, { merge }: Traits): JsonValue {
  const found = merge && mergeTextOf(merge, given)
  if (found === undefined || isWellFormed(found.text)) return value
  return withTextAt(value, found.path, found.text)
}
