import type { Level, Traits } from '../catalog/traits.js'
import type { Accepts, Entry } from '../history/entry.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Mode } from '../protocol/frames.js'

/** The declarative filter expression of a subscription. */
export interface FilterExpression {
  /** Exact names, `prefix*`, and `!` before either to exclude; absent: all. */
  readonly types?: readonly string[]
  readonly mode: Mode
  /** Names of slices, `prefix*`, `*`; absent: no state. */
  readonly slices?: readonly string[]
  /** Types that a fresh join does not replay, regardless of their traits, because a dialect's clients do not expect them. */
  readonly notReplayed?: readonly string[]
}

/** A compiled list of names, `prefix*` and exclusions. */
export class NamePattern {
  readonly #exact = new Map<string, boolean>()
  /** In ascending order. */
  readonly #prefixes: readonly Prefix[]
  readonly #otherwise: boolean

  /**
   * An exclusion takes precedence over an inclusion. A list of exclusions starts from all names; an empty list matches nothing.
   *
   * @param field where the list came from, for messages
   * @throws ProtocolError `badFrame` when an entry is not of that form
   */
  constructor(entries: readonly string[], field: string) {
    const prefixes = new Map<string, boolean>()
    this.#otherwise = entries.length > 0 && entries.every((entry) => entry.startsWith('!'))
    for (const entry of entries) {
      const included = !entry.startsWith('!')
      const name = included ? entry : entry.slice(1)
      if (!/^[$A-Za-z0-9._:~-]*\*?$/.test(name) || name === '') {
        throw new ProtocolError('badFrame', `${field}: expected name, prefix* or !name, got ${quote(entry)}`)
      }
      const prefix = name.endsWith('*') ? name.slice(0, -1) : undefined
      if (prefix !== undefined) prefixes.set(prefix, included && prefixes.get(prefix) !== false)
      else this.#exact.set(name, included && this.#exact.get(name) !== false)
    }
    this.#prefixes = inOrder(prefixes)
  }

  /** About how many comparisons `matches` takes. */
  get steps(): number {
    return 1 + Math.ceil(Math.log2(1 + this.#prefixes.length))
  }

  /** Whether an entry includes it by name or by a prefix other than `*`. */
  names(name: string): boolean {
    if (!this.matches(name)) return false
    if (this.#exact.get(name) === true) return true
    return this.#prefixes.some(({ prefix, included }) => included && prefix !== '' && name.startsWith(prefix))
  }

  matches(name: string): boolean {
    const exact = this.#exact.get(name)
    if (exact === false) return false
    // The longest matching prefix is the last entry not above the name, or a prefix of that entry.
    let at = this.#lastUpTo(name)
    while (at >= 0) {
      const { prefix, included, shorter } = this.#prefixes[at] as Prefix
      if (name.startsWith(prefix)) return included
      at = shorter
    }
    return exact ?? this.#otherwise
  }

  #lastUpTo(name: string): number {
    let low = 0
    let high = this.#prefixes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#prefixes[middle] as Prefix).prefix <= name) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}

interface Prefix {
  readonly prefix: string
  /** Whether it and all shorter prefixes of it in the list are included. */
  readonly included: boolean
  /** The index of the longest of these shorter prefixes, or −1. */
  readonly shorter: number
}

function inOrder(prefixes: ReadonlyMap<string, boolean>): Prefix[] {
  const found: Prefix[] = []
  for (const [prefix, included] of [...prefixes].sort(([one], [other]) => (one < other ? -1 : 1))) {
    let shorter = found.length - 1
    while (shorter >= 0 && !prefix.startsWith((found[shorter] as Prefix).prefix)) {
      shorter = (found[shorter] as Prefix).shorter
    }
    found.push({ prefix, included: included && found[shorter]?.included !== false, shorter })
  }
  return found
}

/** The reserved slices: two in each session's topic, and the list of sessions in the topic `hub`. */
export const reservedSliceNames = ['$session', '$workers', 'sessions'] as const

const verdictsMax = 1_024
type Verdict = 'yes' | 'if forced' | 'no'

/** A filter, compiled once from its expression, and applied once for each event and feed. */
export class Filter implements Accepts {
  readonly expression: FilterExpression
  /** Equal for equivalent filters, which can share a feed. */
  readonly name: string
  /** Whether it selects any state. */
  readonly stateful: boolean
  /** Whether it selects a reserved slice, which must then be kept up to date. */
  readonly watches: boolean
  readonly notReplayed: ReadonlySet<string> | undefined
  /** Whether it selects `$watchers`, which requires exactly this name. */
  readonly asksWatchers: boolean
  /** It selects all events. */
  readonly #hasAll: boolean
  readonly #types: NamePattern | undefined
  readonly #slices: NamePattern | undefined
  readonly #verdicts = new Map<string, Verdict>()
  /** About how many comparisons a type takes. */
  readonly steps: number
  /** Comparisons so far. */
  compared = 0

  /** @throws ProtocolError `badFrame` when the expression is not valid */
  constructor(expression: FilterExpression) {
    this.expression = expression
    this.name = nameOf(expression)
    this.notReplayed = expression.notReplayed && new Set(expression.notReplayed)
    this.#hasAll = expression.types === undefined && expression.mode === 'full'
    this.#types = expression.types && new NamePattern(expression.types, 'types')
    this.steps = this.#types?.steps ?? 0
    this.#slices = expression.slices && new NamePattern(expression.slices, 'slices')
    this.asksWatchers = !this.silent && expression.slices?.includes('$watchers') === true
    this.stateful = this.#slices !== undefined && !this.silent
    this.watches = this.stateful && reservedSliceNames.some((slice) => this.wantsSlice(slice))
  }

  names(type: string): boolean {
    return this.#types?.names(type) === true
  }

  get silent(): boolean {
    return this.expression.mode === 'silent'
  }

  accepts(entry: Entry): boolean {
    if (entry.everywhere) return true
    if (entry.superseded) return false
    if (entry.slice !== undefined) return !this.silent && this.wantsSlice(entry.slice)
    const verdict = this.#verdict(entry.event.type, entry.traits)
    return verdict === 'yes' || (entry.force && verdict === 'if forced')
  }

  wants(type: string, traits: Traits, force: boolean): boolean {
    const verdict = this.#verdict(type, traits)
    return verdict === 'yes' || (force && verdict === 'if forced')
  }

  /** Names that begin with `$` are selected only if they are named, or with `*`. */
  wantsSlice(slice: string): boolean {
    if (this.#slices === undefined) return false
    if (!slice.startsWith('$')) return this.#slices.matches(slice)
    if (slice === '$watchers') return this.asksWatchers
    const named = this.expression.slices?.some((entry) => entry === '*' || entry.startsWith('$'))
    return named === true && this.#slices.matches(slice)
  }

  #verdict(type: string, traits: Traits): Verdict {
    if (this.#hasAll) return 'yes'
    const known = this.#verdicts.get(type)
    if (known !== undefined) return known
    const verdict = this.#judge(type, traits)
    // Bounded, because producers choose the type names.
    if (this.#verdicts.size < verdictsMax) this.#verdicts.set(type, verdict)
    return verdict
  }

  #judge(type: string, traits: Traits): Verdict {
    this.compared += this.steps
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
