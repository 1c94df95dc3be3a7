import { ProtocolError } from '../../protocol/codes.js'

/** What has come of all bodies that are not complete: many of them at once must not fill the memory. */
export class BodyBudget {
  readonly #bytesMax: number
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @returns the place of one body, which must be given back. */
  take(): BodyShare {
    let held = 0
    return {
      hold: (bytes) => {
        this.#bytes += bytes - held
        held = bytes
        if (this.#bytes > this.#bytesMax) {
          throw new ProtocolError(
            'unavailable',
            `the hub holds ${this.#bytesMax} bytes of bodies that are not complete; come back later`,
          )
        }
      },
      release: () => {
        this.#bytes -= held
        held = 0
      },
    }
  }
}

export interface BodyShare {
  /**
   * @param bytes held of the body now
   * @throws ProtocolError `unavailable` when all of them together are too much
   */
  hold(bytes: number): void
  release(): void
}
