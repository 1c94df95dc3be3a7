import type { Ingested } from '../ingest/ingest.js'
import { Translation } from '../ingest/translate.js'
import { ProtocolError } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'

/** What an agent has printed, in order: what it means, or a line that is none of its kind and stays output. */
export type Printed = Ingested | string

/** Puts the lines together that an agent prints, and translates them. */
export class AgentOutput {
  readonly #translation: Translation
  /** The beginning of a line that has not ended. */
  #rest = ''

  /** @param from a kind, or `auto` */
  constructor(from: string, worker: string) {
    this.#translation = new Translation(from, { worker, dataMax: defaultLimits.lineBytesMax })
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

  /** The agent has ended. @returns what was left of its last line, and how the agent's stream ended */
  end(): readonly Printed[] {
    const printed: Printed[] = []
    if (this.#rest !== '') this.#line(this.#rest, printed)
    this.#rest = ''
    try {
      printed.push(...this.#translation.end())
    } catch (error) {
      // Half a block of an event stream: that it was cut is told by the exit.
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
