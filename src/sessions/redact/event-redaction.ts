import type { Catalog } from '../../catalog/catalog.js'
import { type MergeText, mergeTextOf, withTextAt } from '../../catalog/merge.js'
import type { Traits } from '../../catalog/traits.js'
import type { Found } from '../../mask/found.js'
import { markOf, type Redaction } from '../../mask/redaction.js'
import type { Offset } from '../../protocol/cursor.js'
import type { StoredEvent } from '../../store/store.js'
import { textStreamOf } from '../texts/text-streams.js'

/** Maximum of texts that are followed from event to event. If there are more, the oldest is forgotten. */
const streamsMax = 256

/** A piece of a text, before and after redaction. */
interface Piece {
  /** The event, redacted except for the piece of text. */
  readonly event: StoredEvent
  readonly path: readonly string[]
  original: string
  redacted: string
}

/**
 * Redacts events, which must come in order of offsets. A secret may span several pieces of a mergeable text: then the mark is
 * in the first of them, and the other pieces lose their part of the secret.
 */
export class EventRedaction {
  readonly #redaction: Redaction
  readonly #catalog: Catalog
  readonly #streams = new Map<string, Piece[]>()

  constructor(redaction: Redaction, catalog: Catalog) {
    this.#redaction = redaction
    this.#catalog = catalog
  }

  /** The offset of the oldest event that a later event may still change. */
  get oldest(): Offset | undefined {
    let oldest: Offset | undefined
    for (const [first] of this.#streams.values())
      if (first !== undefined && (oldest === undefined || first.event.offset < oldest))
        oldest = first.event.offset
    return oldest
  }

  /** @returns the changed events: this one, and earlier pieces of the same text */
  add(event: StoredEvent): readonly StoredEvent[] {
    const traits = this.#catalog.traitsOf(event.type)
    const found = traits.merge && mergeTextOf(traits.merge, event.data)
    if (found !== undefined) return this.#addPiece(event, found, traits)
    const data = this.#redaction.value(event.data)
    return data === event.data ? [] : [{ ...event, data }]
  }

  #addPiece(event: StoredEvent, { path, text }: MergeText, traits: Traits): readonly StoredEvent[] {
    const bare = withTextAt(event.data, path, '')
    const rest = this.#redaction.value(bare)
    const isOther = rest !== bare
    const { worker, type, key, attempt } = event
    const name = textStreamOf({ worker, type, key, attempt, data: rest }, path, traits)
    const pieces = this.#streams.get(name) ?? []
    this.#streams.delete(name)
    const piece = { event: isOther ? { ...event, data: rest } : event, path, original: text, redacted: text }
    pieces.push(piece)
    const found = this.#redaction.find(pieces.map(({ original }) => original).join(''))
    const changed = found.length === 0 ? [] : changedBy(pieces, found)
    if (isOther && !changed.includes(piece)) changed.push(piece)
    this.#keep(name, pieces, found)
    return changed.map(({ event: of, path: at, redacted }) => ({
      ...of,
      data: withTextAt(of.data, at, redacted),
    }))
  }

  /** Keeps the pieces in which a secret may begin that continues in the next piece. */
  #keep(name: string, pieces: Piece[], found: readonly Found[]): void {
    let length = pieces.reduce((sum, { original }) => sum + original.length, 0)
    let dropped = 0
    let count = 0
    for (const { original } of pieces) {
      if (length - original.length < this.#redaction.lengthMax - 1) break
      length -= original.length
      dropped += original.length
      count++
    }
    // If a secret begins in a dropped piece, its rest would not be found again, so the redacted text is kept.
    if (found.some(({ from, to }) => from < dropped && to > dropped))
      for (const piece of pieces) piece.original = piece.redacted
    pieces.splice(0, count)
    if (pieces.length > 0) this.#streams.set(name, pieces)
    if (this.#streams.size <= streamsMax) return
    for (const oldest of this.#streams.keys()) {
      this.#streams.delete(oldest)
      return
    }
  }
}

/** Redacts the pieces of a text. @returns those that have changed */
function changedBy(pieces: readonly Piece[], found: readonly Found[]): Piece[] {
  const changed: Piece[] = []
  let start = 0
  for (const piece of pieces) {
    const redacted = partOf(piece.original, start, found)
    if (redacted !== piece.redacted) {
      piece.redacted = redacted
      changed.push(piece)
    }
    start += piece.original.length
  }
  return changed
}

/** @returns the redacted piece. @param start its index in the text in which the secrets were found */
function partOf(piece: string, start: number, found: readonly Found[]): string {
  let part = ''
  let at = 0
  for (const { from, to, kind } of found) {
    if (to <= start || from >= start + piece.length) continue
    const begin = Math.max(0, from - start)
    part += piece.slice(at, begin)
    if (from >= start) part += markOf(kind)
    at = Math.min(piece.length, to - start)
  }
  return part + piece.slice(at)
}
