/** At this index of the old list, `removed` items are replaced by `inserted` items of the new list. */
export interface Hunk {
  /** Index in the old list. */
  readonly before: number
  /** Index in the new list. */
  readonly after: number
  readonly removed: number
  readonly inserted: number
}

/**
 * Finds the fewest removals and insertions that transform one list into the other, by the greedy algorithm of E. W. Myers, "An
 * O(ND) difference algorithm and its variations" (1986).
 *
 * @param editsMax gives up beyond this many; time and memory grow with its square
 * @returns the hunks in order, or undefined if there are too many
 */
export function findEdits(
  before: readonly number[],
  after: readonly number[],
  editsMax: number,
): Hunk[] | undefined {
  const most = Math.min(before.length + after.length, editsMax)
  const middle = most + 1
  // The furthest index in `before` that each diagonal (index in `before` minus index in `after`) has reached.
  const reached = new Int32Array(2 * most + 3)
  const rounds: Int32Array[] = []
  for (let edits = 0; edits <= most; edits++) {
    rounds.push(reached.slice())
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const at = middle + diagonal
      let x = byInsertion(reached, at, diagonal, edits)
        ? (reached[at + 1] as number)
        : (reached[at - 1] as number) + 1
      let y = x - diagonal
      while (x < before.length && y < after.length && before[x] === after[y]) {
        x++
        y++
      }
      reached[at] = x
      if (x >= before.length && y >= after.length) {
        return walkBack(rounds, before.length, after.length)
      }
    }
  }
  return undefined
}

/** A diagonal is entered from the neighbour that has reached further: from above by an insertion, from below by a removal. */
function byInsertion(reached: Int32Array, at: number, diagonal: number, edits: number): boolean {
  if (diagonal === -edits) return true
  return diagonal !== edits && (reached[at - 1] as number) < (reached[at + 1] as number)
}

function walkBack(rounds: readonly Int32Array[], beforeLength: number, afterLength: number): Hunk[] {
  const hunks: Hunk[] = []
  let x = beforeLength
  let y = afterLength
  for (let edits = rounds.length - 1; edits > 0; edits--) {
    const reached = rounds[edits] as Int32Array
    const diagonal = x - y
    const at = (reached.length >> 1) + diagonal
    const inserted = byInsertion(reached, at, diagonal, edits) ? 1 : 0
    // The edit precedes the kept items of this diagonal, and (x, y) precedes the edit.
    x = inserted ? (reached[at + 1] as number) : (reached[at - 1] as number)
    y = x - diagonal - (inserted ? 1 : -1)
    join(hunks, { before: x, after: y, removed: 1 - inserted, inserted })
  }
  return hunks.reverse()
}

/** Adds a hunk in front of the others; adjacent hunks are joined. */
function join(hunks: Hunk[], { before, after, removed, inserted }: Hunk): void {
  const next = hunks.at(-1)
  if (next?.before !== before + removed || next.after !== after + inserted) {
    hunks.push({ before, after, removed, inserted })
  } else {
    hunks[hunks.length - 1] = {
      before,
      after,
      removed: removed + next.removed,
      inserted: inserted + next.inserted,
    }
  }
}
