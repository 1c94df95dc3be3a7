import type { Clock } from '../../lib/clock.js'
import type { HeldChange } from '../../log/shared-log.js'
import type { MaskedSession } from '../../mask/masking.js'
import type { Offset } from '../../protocol/cursor.js'
import type { HeldStreams, Release } from '../texts/held-streams.js'

/** The size that what is held back may have in the log; beyond it the oldest texts end. Bytes. */
const heldBytesMax = 256 * 1024

/** What a batch makes of the texts that its session holds back. */
export class DraftTexts {
  readonly #base: Offset
  #streams: HeldStreams
  /** The batch is right only if the log holds back what this hub knows of. */
  #isConcerned = false
  #isChanged: boolean
  readonly #sealed: (streams: HeldStreams) => Uint8Array

  /**
   * @param streams what the session holds back at `base`; owned by this from now on
   * @param sealed makes of them what the log gets
   */
  constructor(base: Offset, streams: HeldStreams, sealed: (streams: HeldStreams) => Uint8Array) {
    this.#base = base
    this.#sealed = sealed
    this.#streams = streams
    this.#isChanged = streams.changes > 0
  }

  /** @returns a copy to change, which counts once it is kept */
  begin(): HeldStreams {
    return this.#streams.copy()
  }

  /** @param release called with texts that are too large to be held back */
  keep(streams: HeldStreams, session: MaskedSession, release: Release, clock: Clock): void {
    if (streams.changes > 0) {
      while (streams.size > 0 && streams.pack(clock).length > heldBytesMax)
        streams.endOldest(session, release)
      this.#isChanged = true
    }
    this.#isConcerned = true
    this.#streams = streams
  }

  /**
   * @param isMarking the batch gives marks to secrets, so it is right only if no other hub has given any since: each such batch
   *   changes what is held back, even if only to the same
   * @returns what the log is told; nothing if the batch has neither texts nor marks
   */
  change(isMarking: boolean): HeldChange | undefined {
    if (!this.#isConcerned && !isMarking) return undefined
    const isChanged = this.#isChanged || isMarking
    return { base: this.#base, ...(isChanged && { bytes: this.#sealed(this.#streams) }) }
  }
}
