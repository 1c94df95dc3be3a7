import { endOf } from './characters.js'

/** A match of a shape. */
export interface Reading {
  /** What is masked, if it is a secret. */
  readonly from: number
  readonly to: number
  readonly isSecret: boolean
  /** Whether more text could change the match; by default if it ends at the end of the text. */
  readonly mayGoOn?: boolean
}

/** Recognizes secrets of one kind. */
export interface Shape {
  readonly kind: string
  /** Its possible beginnings: at least three characters of the kind `run`, and optionally a blank at the end. */
  readonly anchors: readonly string[]
  /** @param at the index of the anchor @returns undefined if there is no secret, whatever follows */
  read(text: string, at: number, anchor: string): Reading | undefined
}

const gapMax = 8

/**
 * @param after the end of a name
 * @returns its value after `=` or `:`, with or without quotes
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

/** @returns the beginning of the value after `=` or `:`; nothing if there is neither */
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
