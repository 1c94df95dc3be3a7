import type {
  Appended,
  Described,
  DescribedPage,
  HeldBack,
  KnownId,
  LostRange,
  Opened,
  Since,
} from '../log/shared-log.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import { batchesOf, type Entry } from './blocks.js'

type Lanes = readonly [critical: readonly Entry[], droppable: readonly Entry[]]

/** @param answer of the script `append`: 0 another epoch, 1 appended, 2 ended, 3 left, 4 held */
export function readAppended([kind, ...rest]: readonly number[]): Appended {
  switch (kind) {
    case 1: {
      const [from, to, tailBytes, ...known] = rest as [Offset, Offset, number, ...number[]]
      return { kind: 'appended', from, to, known: knownOf(known), tailBytes }
    }
    case 2:
      return { kind: 'ended', known: knownOf(rest) }
    case 3:
      return { kind: 'left', place: rest[0] as number }
    case 4:
      return { kind: 'held', known: knownOf(rest) }
    default:
      return { kind: 'epoch' }
  }
}

/** @param answer of the script `open` */
export function readOpened(answer: unknown): Opened {
  const [epochBytes, last, lost, whole, reached, image, rewrites, base, held, ...lanes] = answer as [
    epoch: Buffer,
    last: Offset,
    lost: Buffer,
    whole: Offset,
    reached: Offset,
    image: Buffer,
    rewrites: Buffer,
    base: Buffer,
    held: Buffer,
    ...Lanes,
  ]
  const epoch = String(epochBytes)
  const all = batchesOf(epoch, ...lanes)
  return {
    epoch,
    last,
    lost: lostOf(lost),
    checkpoint: reached === 0 ? undefined : { epoch, offset: reached, bytes: image },
    before: all.filter(({ to }) => to <= reached),
    batches: all.filter(({ to }) => to > reached),
    whole,
    rewrites: Number(String(rewrites)),
    held: heldBack(base, held),
  }
}

/** @param answer of the script `since`: 0 behind, 1 batches, 2 lost */
export function readSince(answer: unknown, epoch: Epoch, after: Offset): Since {
  const [kind, ...rest] = answer as [number, ...unknown[]]
  switch (kind) {
    case 1: {
      const [last, lost, base, held, ...lanes] = rest as [Offset, Buffer, Buffer, Buffer, ...Lanes]
      // A packed block begins before what was asked for.
      const batches = batchesOf(epoch, ...lanes).filter(({ to }) => to > after)
      return { kind: 'batches', batches, last, lost: lostOf(lost), held: heldBack(base, held) }
    }
    case 2: {
      const [begin, until] = rest as [Offset, Offset]
      return { kind: 'lost', range: { after: begin, until } }
    }
    default:
      return { kind: 'behind' }
  }
}

function knownOf(flat: readonly number[]): KnownId[] {
  const known: KnownId[] = []
  for (let i = 0; i < flat.length; i += 2)
    known.push({ place: flat[i] as number, offset: flat[i + 1] as Offset })
  return known
}

function heldBack(base: Buffer, bytes: Buffer): HeldBack {
  return { base: Number(String(base)) as Offset, bytes }
}

function lostOf(text: Buffer): LostRange[] {
  const numbers = text.length === 0 ? [] : text.toString('latin1').split(' ').map(Number)
  const lost: LostRange[] = []
  for (let i = 0; i < numbers.length; i += 2) {
    lost.push({ after: numbers[i] as Offset, until: numbers[i + 1] as Offset })
  }
  return lost
}

/** @returns a page of descriptions; the script answers one more than the page has, where there is one */
export function readDescribed(answer: unknown, after: number, limit: number): DescribedPage {
  const [total, ...rest] = answer as [number, ...Buffer[]]
  const sessions: Described[] = []
  let mark = after
  for (let i = 0; i < rest.length && sessions.length < limit; i += 3) {
    const text = String(rest[i + 2])
    // Epoch and offset come first.
    const about = text.slice(text.indexOf(' ', text.indexOf(' ') + 1) + 1)
    mark = Number(String(rest[i + 1]))
    // Marks are in microseconds.
    sessions.push({ session: String(rest[i]), about: text === '' ? undefined : about, at: mark / 1_000 })
  }
  return { sessions, mark, end: rest.length <= 3 * limit, total }
}
