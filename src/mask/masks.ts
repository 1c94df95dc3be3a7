import { createHmac } from 'node:crypto'
import type { Found } from './found.js'
import { type KeptValue, Values } from './values.js'

/** Secrets of one session that have a mark of their own. Those beyond share one. */
const marksMax = 1_000

/** What of the masks of a session outlives the process. */
export interface KeptMasks {
  /** How many secrets of each kind have been masked: a mark is never given to two. */
  readonly marks?: Readonly<Record<string, number>>
  /** Values that are known to be secret. */
  readonly values?: readonly KeptValue[]
}

/**
 * The marks of one session: the same secret has the same one. The first of a kind is `[secret:KIND]`, the next
 * `[secret:KIND:2]`. Secrets are remembered as keyed hashes, in memory alone.
 */
export class Masks {
  readonly #marks = new Map<string, string>()
  readonly #counts = new Map<string, number>()
  /** What was registered for the session; absent where nothing was. */
  values: Values | undefined

  /**
   * @param key of the hashes by which secrets are told apart
   * @returns the mark of a secret, and whether it is the first time that it was seen
   */
  markOf(
    { kind, name }: Found,
    secret: string,
    key: string,
  ): { readonly mark: string; readonly isNew: boolean } {
    const hash = `${kind} ${name ?? createHmac('sha256', key).update(secret).digest('base64')}`
    const known = this.#marks.get(hash)
    if (known !== undefined) return { mark: known, isNew: false }
    if (this.#marks.size >= marksMax) return { mark: `[secret:${kind}:more]`, isNew: false }
    const count = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, count)
    const mark = count === 1 ? `[secret:${kind}]` : `[secret:${kind}:${count}]`
    this.#marks.set(hash, mark)
    return { mark, isNew: true }
  }

  /** @returns what the store keeps; nothing where there is nothing to keep */
  kept(): KeptMasks | undefined {
    const { values } = this
    if (this.#counts.size === 0 && values === undefined) return undefined
    return {
      ...(this.#counts.size > 0 && { marks: Object.fromEntries(this.#counts) }),
      ...(values && { values: [...values.kept()] }),
    }
  }

  restore({ marks = {}, values }: KeptMasks, key: string): void {
    for (const [kind, count] of Object.entries(marks)) this.#counts.set(kind, count)
    if (values !== undefined) this.know(values, key)
  }

  /** @param key that they were hashed with */
  know(values: readonly KeptValue[], key: string): void {
    this.values ??= new Values(key)
    for (const value of values) this.values.add(value)
  }
}
