import { endOf, kinds } from './characters.js'
import { type Found, heldLengthMax } from './found.js'
import type { MaskedSession, Masking } from './masking.js'
import { tokenFinder } from './token-finder.js'
import { blockEnd } from './wide-shapes.js'

/** The end of a text that arrives in pieces, as far as the next piece may change its masking. */
export interface Tail {
  /** The sent end of the text that may begin a secret's prefix. */
  readonly sent: string
  /** The text that is held back. */
  readonly held: string
  /** The kind of a secret that was masked before its end was seen. Matching text after it belongs to the secret. */
  readonly inside?: string
}

const nothing: Tail = { sent: '', held: '' }

/** A text that arrives in pieces, any of which may end within a secret. */
export class TailedText {
  #tail: Tail

  /** @param tail `tail` of another one, which this one continues */
  constructor(tail: Tail = nothing) {
    this.#tail = tail
  }

  get tail(): Tail {
    return this.#tail
  }

  /** Whether the next piece does not depend on earlier ones. */
  get isSettled(): boolean {
    return this.#tail === nothing
  }

  /** The number of characters that are held back. */
  get heldLength(): number {
    return this.#tail.held.length
  }

  /** @returns the text that may be sent now, masked: everything except a possible beginning of a secret */
  add(piece: string, masking: Masking, session: MaskedSession): string {
    const { sent, held, inside } = this.#tail
    const swallowed = inside === undefined ? 0 : goesOnTo(inside, piece)
    // The whole piece belongs to the masked secret.
    if (inside !== undefined && swallowed === piece.length) return ''
    const text = sent + held + piece.slice(swallowed)
    const found = masking.find(text, session)
    let open = masking.openFrom(text, session)
    // A secret that overlaps the unfinished end is held back as a whole.
    for (const { from, to } of found) if (from < open && to > open) open = from
    if (text.length - open > heldLengthMax) {
      this.#tail = insideOf(text, found)
      return masked(text, [sent.length, text.length], found, masking, session)
    }
    const done = Math.max(open, sent.length)
    const begun = open === text.length ? tokenFinder.beginningAt(text) : text.slice(open, done)
    this.#tail = begun === '' && done === text.length ? nothing : { sent: begun, held: text.slice(done) }
    return masked(text, [sent.length, done], found, masking, session)
  }

  /** @returns the text that was held back, masked. Later text may continue a secret at its end, if it matches. */
  release(masking: Masking, session: MaskedSession): string {
    const { sent, held, inside } = this.#tail
    if (inside !== undefined) return ''
    const text = sent + held
    const found = masking.find(text, session)
    this.#tail = insideOf(text, found)
    return masked(text, [sent.length, text.length], found, masking, session)
  }
}

function insideOf(text: string, found: readonly Found[]): Tail {
  const last = found.at(-1)
  return last?.to === text.length ? { sent: '', held: '', inside: last.kind } : nothing
}

/** @returns a part of a text with marks instead of the secrets that are not completely before it */
function masked(
  text: string,
  [from, to]: readonly [number, number],
  found: readonly Found[],
  masking: Masking,
  session: MaskedSession,
): string {
  let result = ''
  let at = from
  for (const one of found) {
    // A secret that goes beyond the part is held back as a whole.
    if (one.to <= from || one.to > to) continue
    const start = Math.max(one.from, from)
    result += text.slice(at, start) + masking.mark(one, text.slice(one.from, one.to), session)
    at = one.to
  }
  return result + text.slice(at, to)
}

/** @returns how far a piece continues a secret of a kind */
function goesOnTo(kind: string, piece: string): number {
  return kind === 'private-key' ? blockEnd(piece, 0).to : endOf(piece, 0, kinds.value)
}
