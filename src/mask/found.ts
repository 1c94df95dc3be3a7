/** A secret in a text. */
export interface Found {
  readonly from: number
  readonly to: number
  readonly kind: string
  /** What tells it from others of its kind, where that is not its own text. */
  readonly name?: string
}

/** What looks for secrets of some kind. */
export interface Seeker {
  find(text: string): readonly Found[]
  /** @returns from where on the end of the text may be the beginning of a secret; the text's length for nowhere */
  openFrom(text: string): number
}

export const nothingFound: readonly Found[] = []

/** What a text may keep back of its end, because it may be the beginning of a secret. Characters. */
export const heldLengthMax = 8_192

/** @returns what was found, in order and without overlaps: of two that overlap the first one, and the rest of the other */
export function inOrder(found: readonly Found[]): readonly Found[] {
  const sorted = found.toSorted((a, b) => a.from - b.from || b.to - a.to)
  const kept: Found[] = []
  let end = 0
  for (const one of sorted) {
    if (one.to <= end) continue
    kept.push(one.from < end ? { ...one, from: end } : one)
    end = one.to
  }
  return kept
}

const mark = /\[secret:[a-z0-9-]+(?::\w+)?\]/g

/** @returns what was found without what is a mark already: what was masked stays as it is */
export function besideMarks(text: string, found: readonly Found[]): readonly Found[] {
  if (found.length === 0 || !text.includes('[secret:')) return found
  const marks = [...text.matchAll(mark)].map((one) => ({ from: one.index, to: one.index + one[0].length }))
  return found.filter(({ from, to }) => !marks.some((one) => from >= one.from && to <= one.to))
}

/** @returns the place, or where the mark begins that it is within: what was masked before it was published is not cut */
export function beforeMark(text: string, at: number): number {
  const start = at === 0 || at === text.length ? -1 : text.lastIndexOf('[secret:', at - 1)
  if (start < 0) return at
  mark.lastIndex = start
  const found = mark.exec(text)
  return found?.index === start && start + found[0].length > at ? start : at
}
