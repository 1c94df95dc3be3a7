import type { Ingested } from '../../ingest/ingest.js'
import { Translation } from '../../ingest/translate.js'
import { ProtocolError } from '../../protocol/codes.js'
import { defaultLimits } from '../../protocol/limits.js'

/** An agent's output in order: its events, or a line of another kind, which stays output. */
export type Printed = Ingested | string

/** Joins the pieces of an agent's lines, and translates the lines. */
export class AgentOutput {
  readonly #translation: Translation
  /** The beginning of a line that has not ended. */
  #rest = ''

  /** @param from a kind, or `auto` */
  constructor(from: string, worker: string) {
    this.#translation = new Translation(from, { worker, bounds: defaultLimits })
  }

  /** @param pieces lines, or pieces of them; each line ends with `\n` */
  take(pieces: readonly string[]): readonly Printed[] {
    const printed: Printed[] = []
    for (const piece of pieces) {
      const line = this.#rest + piece
      this.#rest = ''
      if (line.endsWith('\n') || line.length > defaultLimits.lineBytesMax) this.#line(line, printed)
      else this.#rest = line
    }
    return printed
  }

  /** The agent has ended. @returns the rest of its last line, and the events of the stream's end */
  end(): readonly Printed[] {
    const printed: Printed[] = []
    if (this.#rest !== '') this.#line(this.#rest, printed)
    this.#rest = ''
    try {
      printed.push(...this.#translation.end())
    } catch (error) {
      // Half a block of an event stream: the exit reports the cut.
      if (!(error instanceof ProtocolError)) throw error
    }
    return printed
  }

  #line(line: string, printed: Printed[]): void {
    const text = line.trim()
    if (text === '') return void printed.push(line)
    try {
      printed.push(...this.#translation.line(text))
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      printed.push(line)
    }
  }
}
