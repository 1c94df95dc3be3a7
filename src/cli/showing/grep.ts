import { withoutReturns } from '../../lib/controls.js'
import type { JsonValue } from '../../lib/json.js'
import type { HubEvent } from '../../protocol/frames.js'
import { defaultLimits } from '../../protocol/limits.js'
import { Search } from '../../session/search.js'
import { refusing } from '../options.js'
import { colourSequence } from './paint.js'
import { type ShownEvent, shownText, sourceOf, withShownText } from './transcript.js'

const colours = new RegExp(colourSequence, 'g')

/** A longer incomplete line is searched in pieces. Characters. */
const lineLengthMax = 16 * 1024

/**
 * Passes events that contain a text, or match an RE2 expression between slashes: of growing text the matching lines, of
 * other events the whole event.
 */
export class Grep {
  readonly #search: Search
  /** The incomplete lines, by their sources. */
  readonly #rests = new Map<string, { readonly event: ShownEvent; readonly text: string }>()

  constructor(q: string) {
    // A costly expression takes only the user's own time.
    this.#search = new Search(q, { ...defaultLimits, searchWorkMax: Number.MAX_SAFE_INTEGER })
  }

  /** @returns whether the unchanged event matches */
  matches(event: ShownEvent): boolean {
    return this.#search.matches({ ...event, data: event.data as JsonValue } as HubEvent)
  }

  /** @returns the shown part of an event: of growing text only the complete lines */
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

  /** @returns the rest of lines that no longer end */
  end(): readonly ShownEvent[] {
    const rests = [...this.#rests.values()]
    this.#rests.clear()
    return rests.flatMap(({ event, text }) => this.#linesOf(event, `${text}\n`) ?? [])
  }

  #linesOf(event: ShownEvent, text: string): ShownEvent | undefined {
    const lines = (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).filter((line) =>
      this.#search.matchesText([withoutReturns(line.replace(/\n$/, '')).replaceAll(colours, '')]),
    )
    return lines.length === 0 ? undefined : withShownText(event, lines.join(''))
  }
}

/** The value of `--grep`. */
export function grepOption(text: string): Grep {
  return refusing(() => new Grep(text))
}
