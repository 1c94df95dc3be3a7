import { StringDecoder } from 'node:string_decoder'

/**
 * Cuts a stream of UTF-8 bytes into lines.
 *
 * Every line keeps its `\n`; only the last may be without. Characters cut by a chunk's end are put together
 * again; invalid bytes become U+FFFD. A line longer than `charactersMax` (UTF-16 units) comes in several pieces,
 * of which the last alone ends in `\n`; no piece ends within a surrogate pair.
 */
export class LineSplitter {
  readonly #charactersMax: number
  readonly #decoder = new StringDecoder('utf8')
  #rest = ''

  constructor(charactersMax: number) {
    this.#charactersMax = charactersMax
  }

  /** Whether the last line has not ended yet. */
  get unfinished(): boolean {
    return this.#rest !== ''
  }

  /** @returns the lines that are complete now */
  write(bytes: Buffer): string[] {
    return this.#split(this.#rest + this.#decoder.write(bytes))
  }

  /**
   * @returns the beginning of the unfinished line, up to the last carriage return if it has one; the rest comes
   *   as a line of its own
   */
  take(): string {
    const end = this.#rest.lastIndexOf('\r') + 1 || this.#rest.length
    const taken = this.#rest.slice(0, end)
    this.#rest = this.#rest.slice(end)
    return taken
  }

  /** @returns the rest when the stream has ended */
  end(): string[] {
    const lines = this.#split(this.#rest + this.#decoder.end())
    const last = this.#rest
    this.#rest = ''
    return last === '' ? lines : [...lines, last]
  }

  #split(text: string): string[] {
    const lines: string[] = []
    let from = 0
    for (;;) {
      const newline = text.indexOf('\n', from)
      const until = newline === -1 ? text.length : newline + 1
      while (until - from > this.#charactersMax) {
        const cut = this.#cut(text, from)
        lines.push(text.slice(from, cut))
        from = cut
      }
      if (newline === -1) break
      lines.push(text.slice(from, until))
      from = until
    }
    this.#rest = text.slice(from)
    return lines
  }

  #cut(text: string, from: number): number {
    const cut = from + this.#charactersMax
    const last = text.charCodeAt(cut - 1)
    return last >= 0xd800 && last <= 0xdbff ? cut - 1 : cut
  }
}
