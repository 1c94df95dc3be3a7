import { type Fields, isBranch, type Json } from './model.js'
import { textOfLeaf } from './state-tree.js'

export interface FoundValue {
  /** `plan.steps.3.name` */
  readonly path: string
  readonly value: Json
}

/** Maximum of values that are found, and of values that are compared. */
const foundMax = 200
const looksMax = 200_000

/**
 * Searches the paths and values of the state for a text, ignoring case.
 *
 * @returns the matches in order, and whether there may be more
 */
export function searchState(
  slices: readonly (readonly [string, Json])[],
  text: string,
): { readonly found: readonly FoundValue[]; readonly more: boolean } {
  const words = text.toLowerCase()
  const found: FoundValue[] = []
  let looks = 0
  const look = (path: string, value: Json): boolean => {
    looks += 1
    if (looks > looksMax || found.length === foundMax) return false
    if (isBranch(value)) {
      return Object.entries(value as Fields).every(([name, each]) => look(`${path}.${name}`, each))
    }
    if (`${path}\n${textOfLeaf(value)}`.toLowerCase().includes(words)) found.push({ path, value })
    return true
  }
  const more = !slices.every(([name, value]) => look(name, value))
  return { found, more }
}
