/** A secret in a text. */
export interface Found {
  readonly from: number
  readonly to: number
  readonly kind: string
  /** What distinguishes it from other secrets of its kind; absent: its text. */
  readonly name?: string
}

/** Finds secrets of one or several kinds. */
export interface Seeker {
  find(text: string): readonly Found[]
  /** @returns the index at which an unfinished secret may begin; the text's length if there is none */
  openFrom(text: string): number
}

export const nothingFound: readonly Found[] = []

/** Maximum of characters held back at the end of a text, because a secret may begin there. */
export const heldLengthMax = 8_192

/** @returns the secrets in order and without overlaps: of two that overlap, the first one and the rest of the second */
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
/** The same for one place. Not `mark` itself: `matchAll` begins where the last `exec` of the same expression has ended. */
const markAt = new RegExp(mark.source, 'y')

/** @returns the secrets that are not within a mark, so that existing marks stay unchanged */
export function besideMarks(text: string, found: readonly Found[]): readonly Found[] {
  if (found.length === 0 || !text.includes('[secret:')) return found
  const marks = [...text.matchAll(mark)].map((one) => ({ from: one.index, to: one.index + one[0].length }))
  return found.filter(({ from, to }) => !marks.some((one) => from >= one.from && to <= one.to))
}

/** @returns the index, or the beginning of the mark that contains it, so that no existing mark is cut */
export function beforeMark(text: string, at: number): number {
  const start = at === 0 || at === text.length ? -1 : text.lastIndexOf('[secret:', at - 1)
  if (start < 0) return at
  markAt.lastIndex = start
  return markAt.test(text) && markAt.lastIndex > at ? start : at
}
