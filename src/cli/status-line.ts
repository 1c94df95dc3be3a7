import type { Timer } from '../lib/clock.js'
import { type Palette, paletteFor } from './paint.js'
import type { Surroundings } from './surroundings.js'

const repaintMs = 200

/** A line at the foot of the terminal that says how far the work is; without a terminal nothing but what is told. */
export class StatusLine {
  readonly palette: Palette
  readonly #surroundings: Surroundings
  readonly #text: () => string
  #timer: Timer | undefined
  #shown = false

  /** @param text asked for five times a second until `end` */
  constructor(surroundings: Surroundings, text: () => string) {
    this.#surroundings = surroundings
    this.#text = text
    this.palette = paletteFor(surroundings.stderr, surroundings.env)
    if (surroundings.stderr.isTTY) this.#later()
  }

  /** Says something that stays. */
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
