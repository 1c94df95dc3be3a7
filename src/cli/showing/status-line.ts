import type { Timer } from '../../lib/clock.js'
import type { Surroundings } from '../surroundings.js'
import { type Palette, paletteFor } from './paint.js'

const repaintMs = 200

/** A line at the bottom of the terminal with the progress; without a terminal only the messages are shown. */
export class StatusLine {
  readonly palette: Palette
  readonly #surroundings: Surroundings
  readonly #text: () => string
  #timer: Timer | undefined
  #shown = false

  /** @param text is called five times a second until `end` */
  constructor(surroundings: Surroundings, text: () => string) {
    this.#surroundings = surroundings
    this.#text = text
    this.palette = paletteFor(surroundings.stderr, surroundings.env)
    if (surroundings.stderr.isTTY) this.#later()
  }

  /** Shows a message that stays. */
  tell(text: string): void {
    this.#clear()
    this.#surroundings.stderr.write(`${this.palette.dim('runcast:')} ${text}\n`)
  }

  end(): void {
    this.#timer?.cancel()
    this.#clear()
  }

  #later(): void {
    this.#timer = this.#surroundings.clock.after(repaintMs, () => {
      const { stderr } = this.#surroundings
      const text = this.#text().slice(0, (stderr.columns ?? 80) - 1)
      stderr.write(`\r\u001b[K${this.palette.dim(text)}`)
      this.#shown = true
      this.#later()
    })
  }

  #clear(): void {
    if (this.#shown) this.#surroundings.stderr.write('\r\u001b[K')
    this.#shown = false
  }
}
