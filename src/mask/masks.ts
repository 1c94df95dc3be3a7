import { createHmac } from 'node:crypto'
import type { Found } from './found.js'
import { type KeptValue, Values } from './values.js'

/** Maximum of secrets of one session with marks of their own. The others share one. */
const marksMax = 1_000

/** The stored form of a session's masks. */
export interface KeptMasks {
  /** The number of masked secrets by kind, so that no two secrets get the same mark. */
  readonly marks?: Readonly<Record<string, number>>
  /** The registered secret values. */
  readonly values?: readonly KeptValue[]
  /** The key of their hashes; absent: the session's epoch. A fork keeps the key of the session that it was forked from. */
  readonly key?: string
}

/**
 * The marks of one session: the same secret always gets the same mark. The first of a kind is `[secret:KIND]`, the next
 * `[secret:KIND:2]`. Secrets are remembered as keyed hashes, only in memory.
 */
export class Masks {
  readonly #marks = new Map<string, string>()
  readonly #counts = new Map<string, number>()
  /** The registered values of the session; absent if there are none. */
  values: Values | undefined
  /** The key of their hashes, if it is not the session's epoch. */
  key: string | undefined

  /**
   * @param key of the hashes that distinguish secrets
   * @returns the mark of a secret, and whether the secret is new
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

  /** @returns the stored form; nothing if there is nothing to store */
  kept(): KeptMasks | undefined {
    const { values } = this
    if (this.#counts.size === 0 && values === undefined) return undefined
    return {
      ...(this.#counts.size > 0 && { marks: Object.fromEntries(this.#counts) }),
      ...(values && { values: [...values.kept()] }),
      ...(this.key !== undefined && { key: this.key }),
    }
  }

  restore({ marks = {}, values, key }: KeptMasks, epoch: string): void {
    this.key = key
    for (const [kind, count] of Object.entries(marks)) this.#counts.set(kind, count)
    if (values !== undefined) this.know(values, epoch)
  }

  /** @param epoch of the session: the key of the hashes, unless there is another */
  know(values: readonly KeptValue[], epoch: string): void {
    this.values ??= new Values(this.key ?? epoch)
    for (const value of values) this.values.add(value)
  }
}
