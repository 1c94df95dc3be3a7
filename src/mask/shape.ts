import { endOf } from './characters.js'

/** What stands at a place that a shape begins at. */
export interface Reading {
  /** What is masked, if it is a secret. */
  readonly from: number
  readonly to: number
  readonly isSecret: boolean
  /** Whether more text could change that; unless given, where it ends at the end of the text. */
  readonly mayGoOn?: boolean
}

/** How secrets of one kind are told from other text. */
export interface Shape {
  readonly kind: string
  /** What it begins with: at least three characters, all of the kind `run` but for a blank at the end. */
  readonly anchors: readonly string[]
  /** @param at where the anchor is @returns nothing where there is no secret, whatever follows */
  read(text: string, at: number, anchor: string): Reading | undefined
}

const gapMax = 8

/**
 * @param after where a name ends
 * @returns the value that it has by `=` or `:`, in quotes or not
 */
export function secretAfter(
  text: string,
  after: number,
  { of, min, max }: { readonly of: number; readonly min: number; readonly max?: number },
): Reading | undefined {
  const from = valueAt(text, after)
  if (from === undefined) return undefined
  const to = endOf(text, from, of, (max ?? 4_096) + 1)
  const length = to - from
  if (max !== undefined && length > max) return undefined
  return { from, to, isSecret: length >= min }
}

/** @returns where the value begins that follows `=` or `:`; nothing where there is neither */
export function valueAt(text: string, after: number): number | undefined {
  let at = after
  let isNamed = false
  const end = Math.min(text.length, after + gapMax)
  while (at < end) {
    const character = text[at] as string
    if (character === '=' || character === ':') {
      if (isNamed && character === ':') return undefined
      isNamed = true
    } else if (!/[\s"'\\>]/.test(character)) break
    at++
  }
  return isNamed || at === text.length ? at : undefined
}
