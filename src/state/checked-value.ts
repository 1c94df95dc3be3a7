import { isCanonical, type JsonValue, jsonBytes } from '../lib/json.js'
import type { Limits } from '../protocol/limits.js'

/** A value of a slice that is canonical and within the bounds of one value, so that a large one can be checked in a turn of its own. */
export class CheckedValue {
  readonly value: JsonValue
  /** Of its JSON text. */
  readonly bytes: number

  private constructor(value: JsonValue, bytes: number) {
    this.value = value
    this.bytes = bytes
  }

  /** @returns undefined if it is not canonical, or beyond a bound */
  static of(
    value: JsonValue,
    { depthMax, namesMax }: Pick<Limits, 'depthMax' | 'namesMax'>,
  ): CheckedValue | undefined {
    if (!isCanonical(value, depthMax, undefined, namesMax)) return undefined
    return new CheckedValue(value, jsonBytes(value))
  }
}
