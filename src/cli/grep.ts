import type { JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { defaultLimits } from '../protocol/limits.js'
import { Search } from '../session/search.js'
import { refusing } from './options.js'
import { colourSequence } from './paint.js'
import { type ShownEvent, shownText, sourceOf, withShownText } from './transcript.js'

/** What a line has beside its text: colours, and its end. */
const noText = new RegExp(`${colourSequence}|[\\r\\n]+$`, 'g')

/** A longer line that has not ended is looked at in pieces. Characters. */
const lineLengthMax = 16 * 1024

/**
 * Lets through what has a text, or fits a regular expression of RE2 between slashes: of text that grows the lines, of
 * other events the whole.
 */
export class Grep {
  readonly #search: Search
  /** Lines that have not ended, by what they are of. */
  readonly #rests = new Map<string, { readonly event: ShownEvent; readonly text: string }>()

  constructor(q: string) {
    // It is our own time that a costly expression takes.
    this.#search = new Search(q, { ...defaultLimits, searchWorkMax: Number.MAX_SAFE_INTEGER })
  }

  /** @returns whether an event as it is has it */
  matches(event: ShownEvent): boolean {
    return this.#search.matches({ ...event, data: event.data as JsonValue } as HubEvent)
  }

  /** @returns what is shown of an event: a text that grows only as far as its lines have ended */
  take(event: ShownEvent): ShownEvent | undefined {
    const text = shownText(event)
    if (text === undefined) return this.matches(event) ? event : undefined
    const source = sourceOf(event)
    const whole = (this.#rests.get(source)?.text ?? '') + text
    const end = whole.length > lineLengthMax ? whole.length : whole.lastIndexOf('\n') + 1
    if (end < whole.length) this.#rests.set(source, { event, text: whole.slice(end) })
    else this.#rests.delete(source)
    return this.#linesOf(event, whole.slice(0, end))
  }

  /** @returns what is left of lines that do not end any more */
  end(): readonly ShownEvent[] {
    const rests = [...this.#rests.values()]
    this.#rests.clear()
    return rests.flatMap(({ event, text }) => this.#linesOf(event, `${text}\n`) ?? [])
  }

  #linesOf(event: ShownEvent, text: string): ShownEvent | undefined {
    const lines = (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).filter((line) =>
      this.#search.matchesText([line.replaceAll(noText, '')]),
    )
    return lines.length === 0 ? undefined : withShownText(event, lines.join(''))
  }
}

/** The value of `--grep`. */
export function grepOption(text: string): Grep {
  return refusing(() => new Grep(text))
}
