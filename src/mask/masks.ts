import { createHmac } from 'node:crypto'
import type { Found } from './found.js'
import { type KeptValue, Values } from './values.js'

/** Maximum of secrets of one session with marks of their own. The others share one. */
const marksMax = 1_000

/** A mark that a secret has got, and the secret's hash if it may be kept: a hash without a key of its own could be guessed. */
export type GivenMark = readonly [kind: string, number: number, hash?: string]

/** The stored form of a session's masks. */
export interface KeptMasks {
  /** The number of masked secrets by kind, so that no two secrets get the same mark. */
  readonly marks?: Readonly<Record<string, number>>
  /** The marks of secrets whose hashes may be kept. */
  readonly given?: readonly GivenMark[]
  /** The registered secret values. */
  readonly values?: readonly KeptValue[]
  /** The key of their hashes; absent: the session's epoch. A fork keeps the key of the session that it was forked from. */
  readonly key?: string
}

/** The key of the hashes that distinguish secrets. */
export interface MarkKey {
  readonly key: string | Buffer
  /** All hubs of a log have it, and the log does not, so that hashes may be kept. */
  readonly isShared: boolean
}

/**
 * The marks of one session: the same secret always gets the same mark. The first of a kind is `[secret:KIND]`, the next
 * `[secret:KIND:2]`. Secrets are remembered as keyed hashes.
 */
export class Masks {
  readonly #base: Masks | undefined
  readonly #marks = new Map<string, GivenMark>()
  readonly #counts = new Map<string, number>()
  #values: Values | undefined = undefined
  #key: string | undefined = undefined

  /** @param base what these continue, without changing it */
  constructor(base?: Masks) {
    this.#base = base
  }

  /** The registered values of the session; absent if there are none. */
  get values(): Values | undefined {
    return this.#values ?? this.#base?.values
  }

  /** The key of their hashes, if it is not the session's epoch. */
  get key(): string | undefined {
    return this.#key ?? this.#base?.key
  }

  /** Secrets with a mark that are not of the base. */
  get size(): number {
    return this.#marks.size
  }

  /**
   * @param epoch of the session
   * @returns the mark of a secret, and whether the secret is new
   */
  markOf(
    { kind, name }: Found,
    secret: string,
    { key, isShared }: MarkKey,
    epoch: string,
  ): { readonly mark: string; readonly isNew: boolean } {
    const hash = name ?? hashOf(key, `${this.key ?? epoch} ${secret}`)
    const id = `${kind} ${hash}`
    const known = this.#known(id)
    if (known !== undefined) return { mark: textOf(known), isNew: false }
    if (this.#marks.size + (this.#base?.size ?? 0) >= marksMax)
      return { mark: `[secret:${kind}:more]`, isNew: false }
    const number = this.#count(kind) + 1
    const given: GivenMark = isShared || name !== undefined ? [kind, number, hash] : [kind, number]
    this.#add(id, given)
    return { mark: textOf(given), isNew: true }
  }

  #known(id: string): GivenMark | undefined {
    const base = this.#base
    return this.#marks.get(id) ?? (base === undefined ? undefined : base.#known(id))
  }

  #count(kind: string): number {
    const base = this.#base
    return this.#counts.get(kind) ?? (base === undefined ? 0 : base.#count(kind))
  }

  #add(id: string, given: GivenMark): void {
    const [kind, number] = given
    this.#counts.set(kind, Math.max(number, this.#count(kind)))
    if (this.#marks.size < marksMax) this.#marks.set(id, given)
  }

  /** Marks that are not of the base, in order. */
  *given(): Generator<GivenMark> {
    yield* this.#marks.values()
  }

  /** Forgets marks that are not of the base. @param size of those that stay */
  forgetAfter(size: number): void {
    for (const [id, [kind, number]] of [...this.#marks].slice(size).reverse()) {
      this.#marks.delete(id)
      this.#counts.set(kind, number - 1)
    }
  }

  /** Another hub has given marks. */
  take(marks: Iterable<GivenMark>): void {
    for (const given of marks) {
      const [kind, number, hash] = given
      if (hash === undefined) this.#counts.set(kind, Math.max(number, this.#count(kind)))
      else this.#add(`${kind} ${hash}`, given)
    }
  }

  /** What continues these has become valid. */
  takeAll(continued: Masks): void {
    for (const [id, given] of continued.#marks) this.#add(id, given)
  }

  /** @returns the stored form; nothing if there is nothing to store */
  kept(): KeptMasks | undefined {
    const { values } = this
    if (this.#counts.size === 0 && values === undefined) return undefined
    const given = [...this.#marks.values()].filter(([, , hash]) => hash !== undefined)
    return {
      ...(this.#counts.size > 0 && { marks: Object.fromEntries(this.#counts) }),
      ...(given.length > 0 && { given }),
      ...(values && { values: [...values.kept()] }),
      ...(this.key !== undefined && { key: this.key }),
    }
  }

  restore({ marks = {}, given = [], values, key }: KeptMasks, epoch: string): void {
    this.#key = key
    this.take(given)
    for (const [kind, count] of Object.entries(marks)) this.#counts.set(kind, count)
    if (values !== undefined) this.know(values, epoch)
  }

  /** @param epoch of the session: the key of the hashes, unless there is another */
  know(values: readonly KeptValue[], epoch: string): void {
    this.#values ??= new Values(this.key ?? epoch)
    for (const value of values) this.#values.add(value)
  }
}

function textOf([kind, number]: GivenMark): string {
  return number === 1 ? `[secret:${kind}]` : `[secret:${kind}:${number}]`
}

/** Half of a hash is enough to tell a thousand secrets apart. */
function hashOf(key: string | Buffer, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url').slice(0, 22)
}
