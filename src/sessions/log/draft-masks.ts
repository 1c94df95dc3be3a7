import type { MaskedSession } from '../../mask/masking.js'
import { type GivenMark, Masks } from '../../mask/masks.js'
import type { Session } from '../../session/session.js'

/** The marks that a batch gives to secrets, which are the session's only if the log takes the batch. */
export class DraftMasks implements MaskedSession {
  readonly epoch: string
  readonly masks: Masks
  /** The kinds of masked secrets, by the place of the entry that has them. */
  readonly #kinds: (readonly [kind: string, place: number])[] = []
  #waiting: string[] = []
  /** The number of marks that are certain to be in the batch. */
  #taken = 0

  constructor({ epoch, masks }: Session) {
    this.epoch = epoch
    this.masks = new Masks(masks)
  }

  startMasks(): void {
    throw new Error('a batch has masks from the beginning')
  }

  masksChanged(): void {
    // They are the session's once the batch is applied.
  }

  countLater(kind: string): void {
    this.#waiting.push(kind)
  }

  /** What was masked last is in the entry at a place. */
  placed(place: number): void {
    if (this.#waiting.length === 0) return
    for (const kind of this.#waiting) this.#kinds.push([kind, place])
    this.#waiting = []
  }

  /** What was masked is in the batch. */
  taken(place: number): void {
    this.placed(place)
    this.#taken = this.masks.size
  }

  /** What was masked since is not in the batch. */
  undo(): void {
    this.#waiting = []
    this.masks.forgetAfter(this.#taken)
  }

  /** New marks, for the log. */
  get given(): readonly GivenMark[] {
    return [...this.masks.given()]
  }

  /** @param isIn whether the entry at a place has an effect */
  *counted(isIn: (place: number) => boolean): Generator<string> {
    for (const [kind, place] of this.#kinds) if (isIn(place)) yield kind
  }
}
