import type { Ingested } from '../ingest/ingest.js'
import { Translation } from '../ingest/translate.js'
import { ProtocolError } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'

/** What an agent has printed: what it means, and what is no line of its kind and stays output. */
export interface Printed {
  readonly events: readonly Ingested[]
  readonly output: readonly string[]
}

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
  take(pieces: readonly string[]): Printed {
    const events: Ingested[] = []
    const output: string[] = []
    for (const piece of pieces) {
      const line = this.#rest + piece
      this.#rest = ''
      if (line.endsWith('\n') || line.length > defaultLimits.lineBytesMax) this.#line(line, events, output)
      else this.#rest = line
    }
    return { events, output }
  }

  /** The agent has ended. @returns what was left of its last line, and how the agent's stream ended */
  end(): Printed {
    const events: Ingested[] = []
    const output: string[] = []
    if (this.#rest !== '') this.#line(this.#rest, events, output)
    this.#rest = ''
    try {
      events.push(...this.#translation.end())
    } catch (error) {
      // Half a block of an event stream: that it was cut is told by the exit.
      if (!(error instanceof ProtocolError)) throw error
    }
    return { events, output }
  }

  #line(line: string, events: Ingested[], output: string[]): void {
    const text = line.trim()
    if (text === '') return void output.push(line)
    try {
      events.push(...this.#translation.line(text))
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      output.push(line)
    }
  }
}
