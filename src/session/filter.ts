import type { Level, Traits } from '../catalog/traits.js'
import type { Accepts, Entry } from '../history/entry.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Mode } from '../protocol/frames.js'

/** The declarative expression: what a subscription asks for. */
export interface FilterExpression {
  /** Exact names, `prefix*`, and `!` before either to exclude; absent: all. */
  readonly types?: readonly string[]
  readonly mode: Mode
  /** Names of slices, `prefix*`, `*`; absent: no state. */
  readonly slices?: readonly string[]
  /** Types that a fresh join does not replay, whatever their traits are: a dialect's clients do not expect them. */
  readonly notReplayed?: readonly string[]
}

/** A list of names, `prefix*` and exclusions, ready to be asked. */
export class NamePattern {
  readonly #exact = new Map<string, boolean>()
  readonly #prefixes: { readonly prefix: string; readonly included: boolean }[] = []
  readonly #otherwise: boolean

  /**
   * An exclusion wins over an inclusion. A list of exclusions alone starts from all; an empty list has nothing.
   *
   * @param field where the list came from, for messages
   * @throws ProtocolError `badFrame` when an entry is not of that form
   */
  constructor(entries: readonly string[], field: string) {
    this.#otherwise = entries.length > 0 && entries.every((entry) => entry.startsWith('!'))
    for (const entry of entries) {
      const included = !entry.startsWith('!')
      const name = included ? entry : entry.slice(1)
      if (!/^[$A-Za-z0-9._:~-]*\*?$/.test(name) || name === '') {
        throw new ProtocolError('badFrame', `${field}: expected name, prefix* or !name, got ${quote(entry)}`)
      }
      if (name.endsWith('*')) this.#prefixes.push({ prefix: name.slice(0, -1), included })
      else this.#exact.set(name, included && this.#exact.get(name) !== false)
    }
  }

  matches(name: string): boolean {
    let found = this.#exact.get(name)
    if (found === false) return false
    for (const { prefix, included } of this.#prefixes) {
      if (!name.startsWith(prefix)) continue
      if (!included) return false
      found = true
    }
    return found ?? this.#otherwise
  }
}

/** The slices that the hub keeps: two in each session's topic, and the list of sessions in the topic `hub`. */
export const reservedSliceNames = ['$session', '$workers', 'sessions'] as const

const verdictsMax = 1_024
type Verdict = 'yes' | 'if forced' | 'no'

/** A filter, compiled once from its expression; asked once for each event and feed. */
export class Filter implements Accepts {
  readonly expression: FilterExpression
  /** The same for filters that let the same pass, so that they can share a feed. */
  readonly name: string
  /** Whether it lets any state pass. */
  readonly stateful: boolean
  /** Whether it lets a slice pass that the hub keeps itself: somebody must keep it up to date. */
  readonly watches: boolean
  readonly notReplayed: ReadonlySet<string> | undefined
  /** Neither types nor mode keep anything back. */
  readonly #hasAll: boolean
  readonly #types: NamePattern | undefined
  readonly #slices: NamePattern | undefined
  readonly #verdicts = new Map<string, Verdict>()

  /** @throws ProtocolError `badFrame` when the expression is not valid */
  constructor(expression: FilterExpression) {
    this.expression = expression
    this.name = nameOf(expression)
    this.notReplayed = expression.notReplayed && new Set(expression.notReplayed)
    this.#hasAll = expression.types === undefined && expression.mode === 'full'
    this.#types = expression.types && new NamePattern(expression.types, 'types')
    this.#slices = expression.slices && new NamePattern(expression.slices, 'slices')
    this.stateful = this.#slices !== undefined && !this.silent
    this.watches = this.stateful && reservedSliceNames.some((slice) => this.wantsSlice(slice))
  }

  get silent(): boolean {
    return this.expression.mode === 'silent'
  }

  accepts(entry: Entry): boolean {
    if (entry.everywhere) return true
    if (entry.slice !== undefined) return !this.silent && this.wantsSlice(entry.slice)
    const verdict = this.#verdict(entry.event.type, entry.traits)
    return verdict === 'yes' || (entry.force && verdict === 'if forced')
  }

  wants(type: string, traits: Traits, force: boolean): boolean {
    const verdict = this.#verdict(type, traits)
    return verdict === 'yes' || (force && verdict === 'if forced')
  }

  /** `$names` only come when they are named, or with `*`. */
  wantsSlice(slice: string): boolean {
    if (this.#slices === undefined) return false
    if (!slice.startsWith('$')) return this.#slices.matches(slice)
    const named = this.expression.slices?.some((entry) => entry === '*' || entry.startsWith('$'))
    return named === true && this.#slices.matches(slice)
  }

  #verdict(type: string, traits: Traits): Verdict {
    if (this.#hasAll) return 'yes'
    const known = this.#verdicts.get(type)
    if (known !== undefined) return known
    const verdict = this.#judge(type, traits)
    // Types are the producers' invention, so the memory of them is bounded.
    if (this.#verdicts.size < verdictsMax) this.#verdicts.set(type, verdict)
    return verdict
  }

  #judge(type: string, traits: Traits): Verdict {
    if (this.#types !== undefined && !this.#types.matches(type)) return 'no'
    return carries(this.expression.mode, traits.level) ? 'yes' : 'if forced'
  }
}

/** @returns whether events of that level are part of the mode. */
export function carries(mode: Mode, level: Level): boolean {
  switch (mode) {
    case 'full':
      return true
    case 'summary':
      return level !== 'delta'
    case 'control':
      return level === 'control'
    case 'silent':
      return false
  }
}

function nameOf({ types, mode, slices, notReplayed }: FilterExpression): string {
  const sorted = (names: readonly string[] | undefined) => names && [...new Set(names)].sort()
  return JSON.stringify([mode, sorted(types), sorted(slices), ...(notReplayed ? [sorted(notReplayed)] : [])])
}
