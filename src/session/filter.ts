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
  /** In ascending order. */
  readonly #prefixes: readonly Prefix[]
  readonly #otherwise: boolean

  /**
   * An exclusion wins over an inclusion. A list of exclusions alone starts from all; an empty list has nothing.
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

  /** Whether an entry names it, or begins it: `*` alone does not. */
  names(name: string): boolean {
    if (!this.matches(name)) return false
    if (this.#exact.get(name) === true) return true
    return this.#prefixes.some(({ prefix, included }) => included && prefix !== '' && name.startsWith(prefix))
  }

  matches(name: string): boolean {
    const exact = this.#exact.get(name)
    if (exact === false) return false
    // The longest prefix of a name is the last one that is not above it, or a prefix of that.
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
  /** Whether it is included, and every shorter prefix of the list that it begins with. */
  readonly included: boolean
  /** Where the longest of these is; −1 where there is none. */
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
  /** Whether it asks how many watch: by exactly this name. */
  readonly asksWatchers: boolean
  /** Neither types nor mode keep anything back. */
  readonly #hasAll: boolean
  readonly #types: NamePattern | undefined
  readonly #slices: NamePattern | undefined
  readonly #verdicts = new Map<string, Verdict>()
  /** About how many comparisons it takes to judge a type. */
  readonly steps: number
  /** Comparisons that were made so far. */
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

  /** `$names` only come when they are named, or with `*`. */
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
    // Types are the producers' invention, so the memory of them is bounded.
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
