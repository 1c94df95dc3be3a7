import { isCanonical, type JsonValue, jsonBytes } from '../lib/json.js'
import type { PatchOperation } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { type Comparison, compareWithin } from './compare.js'

export interface Checking {
  readonly limits: Limits
  /** The value that the slice has now; undefined if there is none. */
  readonly before: JsonValue | undefined
  /** @returns whether a value contains no secret of a known form */
  readonly isPlain: (value: JsonValue) => boolean
  /** Waits for the next turn, between two steps that take about as long. */
  readonly turn: () => Promise<void>
}

/** A value of a slice about which all is known that does not depend on the slice, and how it differs from the value that was there. */
export class CheckedValue {
  readonly value: JsonValue
  readonly isPlain: boolean
  readonly #before: JsonValue | undefined
  readonly #comparison: Comparison | undefined
  /** Of its JSON text; undefined if the comparison tells. */
  readonly bytes: number | undefined

  private constructor(
    value: JsonValue,
    isPlain: boolean,
    before: JsonValue | undefined,
    comparison: Comparison | undefined,
    bytes: number | undefined,
  ) {
    this.value = value
    this.isPlain = isPlain
    this.#before = before
    this.#comparison = comparison
    this.bytes = bytes
  }

  /** @returns undefined if the value is not canonical, or beyond a bound */
  static async of(
    value: JsonValue,
    { limits, before, isPlain, turn }: Checking,
  ): Promise<CheckedValue | undefined> {
    const { depthMax, namesMax, compareWorkMax } = limits
    if (!isCanonical(value, depthMax, before, namesMax)) return undefined
    await turn()
    const plain = isPlain(value)
    await turn()
    const comparison = before === undefined ? undefined : compareWithin(before, value, compareWorkMax)
    await turn()
    const bytes = comparison === undefined ? jsonBytes(value) : undefined
    return new CheckedValue(value, plain, before, comparison, bytes)
  }

  /** `compareWithin`, which was done before if the value is still the same. */
  compareWith(before: JsonValue, workMax: number): Comparison | undefined {
    return before === this.#before ? this.#comparison : compareWithin(before, this.value, workMax)
  }
}

export type Edit = { readonly patch: readonly PatchOperation[] } | { readonly merge: JsonValue }

/** A patch or merge, and what it makes of the value that was there. */
export class CheckedEdit {
  readonly edit: Edit
  readonly before: JsonValue
  readonly after: CheckedValue

  constructor(edit: Edit, before: JsonValue, after: CheckedValue) {
    this.edit = edit
    this.before = before
    this.after = after
  }
}
