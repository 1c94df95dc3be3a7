import { createCatalog } from '../../catalog/catalog.js'
import { mergeTextOf, withTextAt } from '../../catalog/merge.js'
import { isObject, type JsonValue } from '../../lib/json.js'
import { isError, turnOf } from '../../session/result.js'
import { exitText } from '../running/child.js'
import { type Palette, terminalText } from './paint.js'
import { wrap } from './wrap.js'

/** An event from SSE, with the fields that could be read. */
export interface ShownEvent {
  readonly type: string
  readonly time: number
  readonly worker: string
  readonly data: unknown
}

/** A longer name moves its own line alone. */
const widthMax = 20

/** Ranges of redacted offsets that a notice names. */
const rangesShown = 10

/** The hub may know more types; their data is shown. */
const catalog = createCatalog()

/** Types whose texts are shown without their type. */
const plainTexts: ReadonlySet<string> = new Set(['process.output', 'client_output_delta'])

function mergeTextIn({ type, data }: ShownEvent) {
  const { merge } = catalog.traitsOf(type)
  return merge === undefined || data === undefined ? undefined : mergeTextOf(merge, data as JsonValue)
}

/** @returns the text of an event that is a piece of a longer text; nothing for other events */
export function shownText(event: ShownEvent): string | undefined {
  return mergeTextIn(event)?.text
}

/** @returns such an event with another text */
export function withShownText(event: ShownEvent, text: string): ShownEvent {
  const found = mergeTextIn(event)
  return found === undefined
    ? event
    : { ...event, data: withTextAt(event.data as JsonValue, found.path, text) }
}

/** @returns the source of an event's text; texts of one source are joined */
export function sourceOf({ type, worker, data }: ShownEvent): string {
  return `${type} ${worker} ${isObject(data) ? String(data['stream']) : ''}`
}

/**
 * Writes events for people: time, worker, and content. Output of processes looks as it did when it was
 * printed, other events as their type and data.
 */
export class Transcript {
  readonly #palette: Palette
  readonly #columns: () => number
  /** By worker, in order of appearance, which decides the colour. */
  readonly #indexes = new Map<string, number>()
  #width = 0
  /** The worker with an unfinished line. */
  #open: string | undefined
  /** The column that the open line has reached. */
  #column = 0
  #day: string | undefined

  /**
   * @param columns of the terminal; infinite if lines must not be cut
   * @param now ms since 1970; other days are shown with their date
   */
  constructor(palette: Palette, columns: () => number, now?: number) {
    this.#palette = palette
    this.#columns = columns
    this.#day = now === undefined ? undefined : dayOf(now)
  }

  /** @returns the text to write; it may end within a line */
  show(event: ShownEvent): string {
    const text = shownText(event)
    const day = this.#dayLine(event)
    if (text !== undefined) return day + this.#output(event, text)
    return `${day}${this.end()}${this.#prefix(event)}${this.#described(event)}\n`
  }

  /** @returns the text of lines that belong together; the first has the time and the worker */
  lines(event: Pick<ShownEvent, 'time' | 'worker'>, lines: readonly string[]): string {
    if (lines.length === 0) return ''
    const day = this.#dayLine(event)
    const first = this.#prefix(event)
    return `${day}${this.end()}${first}${lines.join(`\n${this.#indent(event.worker)}`)}\n`
  }

  /** Columns that are left after the time and the worker. */
  get room(): number {
    return this.#columns() - timeWidth - this.#width - 4
  }

  /** @returns the end of the unfinished line, if there is one */
  end(): string {
    const ended = this.#open === undefined ? '' : '\n'
    this.#open = undefined
    return ended
  }

  #output(event: ShownEvent, text: string): string {
    const source = sourceOf(event)
    const prefix = this.#prefix(event)
    const indent = this.#indent(event.worker)
    const start = this.#startOf(event.worker)
    const label = plainTexts.has(event.type) ? '' : `${event.type} `
    const columns = this.#columns()
    let shown = ''
    for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
      if (this.#open !== source) {
        shown += this.end() + prefix + this.#palette.cyan(label)
        this.#column = start + label.length
      }
      const { text: wrapped, column } = wrap(terminalText(line).replace(/\n$/, ''), {
        columns,
        start,
        column: this.#column,
        indent,
      })
      const hasEnded = line.endsWith('\n')
      shown += hasEnded ? `${wrapped}\n` : wrapped
      this.#column = column
      this.#open = hasEnded ? undefined : source
    }
    return shown
  }

  #described({ type, worker, data }: ShownEvent): string {
    const { bold, cyan, dim, green, red, yellow } = this.#palette
    if (isObject(data) && type === 'process.started' && typeof data['command'] === 'string') {
      return bold(terminalText(`$ ${data['command']}`).replaceAll('\n', ' '))
    }
    if (isObject(data) && type === 'process.exited' && typeof data['code'] === 'number') {
      const { how, after } = exitText({
        code: data['code'],
        signal: typeof data['signal'] === 'string' ? data['signal'] : null,
        durationMs: Number(data['durationMs']),
        ...(typeof data['error'] === 'string' && { error: terminalText(data['error']) }),
        ...(data['cancelled'] === true && { cancelled: true }),
      })
      const paint = data['cancelled'] === true ? yellow : data['code'] === 0 ? green : red
      return paint(how) + dim(after)
    }
    if (isObject(data) && type === 'redacted') return yellow(redactedText(data['offsets']))
    const said = isObject(data) ? this.#said(type, data, worker) : undefined
    if (said !== undefined) return said
    const json = data === undefined || data === null ? '' : terminalText(JSON.stringify(data))
    const shown = json === '{}' || json === '' ? '' : ` ${json}`
    const weight = weightOf(type, data)
    // Failures and questions are shown in full.
    if (weight !== undefined) return this.#palette[weight](this.#whole(`${type}${shown}`, worker))
    const room = this.#columns() - this.#startOf(worker) - type.length
    return cyan(type) + dim(shown.length > room ? `${shown.slice(0, Math.max(room - 1, 10))}…` : shown)
  }

  /** An agent's actions as text. */
  #said(type: string, data: Readonly<Record<string, unknown>>, worker: string): string | undefined {
    const { bold, dim, green, red } = this.#palette
    const cut = (value: unknown): string => {
      const line = oneLine(value)
      const room = Math.max(this.room - 30, 20)
      return line.length > room ? `${line.slice(0, room)}…` : line
    }
    switch (type) {
      case 'tool_call_started':
        return `${bold(`→ ${cut(data['tool_name'])}`)} ${dim(cut(data['tool_input'] ?? ''))}`
      case 'tool_call_completed': {
        const failed = data['is_error'] === true
        const name = `← ${cut(data['tool_name'])}`
        if (failed) return red(this.#whole(`${name} failed ${oneLine(data['result'] ?? '')}`, worker))
        return `${name} ${dim(cut(data['result'] ?? ''))}`
      }
      case 'llm_turn_complete': {
        const { model, input_tokens: input, output_tokens: output, cost_usd: cost } = data
        const spent = typeof cost === 'number' ? `, $${cost.toFixed(4)}` : ''
        return dim(
          `${cut(model ?? 'model')}: ${Number(input ?? 0)} tokens in, ${Number(output ?? 0)} out${spent}`,
        )
      }
      case 'execution_completed':
        return green('completed')
      case 'execution_failed':
        return red(this.#whole(`failed: ${oneLine(data['error'] ?? '')}`, worker))
      default:
        return undefined
    }
  }

  /** @returns a text of one line, wrapped */
  #whole(text: string, worker: string): string {
    const start = this.#startOf(worker)
    const cut = text.length > wholeLengthMax ? `${text.slice(0, wholeLengthMax)}…` : text
    return wrap(cut, { columns: this.#columns(), start, column: start, indent: this.#indent(worker) }).text
  }

  /** The column at which texts of a worker begin. */
  #startOf(worker: string): number {
    const name = Math.max(this.#width, worker.length)
    return timeWidth + (name === 0 ? 0 : name + 1) + 2
  }

  /** The prefix of a continued line. */
  #indent(worker: string): string {
    const { dim, coloured } = this.#palette
    return `${' '.repeat(this.#startOf(worker) - 2)}${dim(coloured ? '│' : '|')} `
  }

  /** @returns a line with the date, if it has changed */
  #dayLine({ time }: Pick<ShownEvent, 'time'>): string {
    const day = dayOf(time)
    const before = this.#day
    this.#day = day
    return before === undefined || before === day ? '' : `${this.end()}${this.#palette.dim(`── ${day}`)}\n`
  }

  #prefix({ time, worker }: Pick<ShownEvent, 'time' | 'worker'>): string {
    const { dim, coloured } = this.#palette
    let index = this.#indexes.get(worker)
    if (index === undefined && worker !== '') {
      index = this.#indexes.size
      this.#indexes.set(worker, index)
      this.#width = Math.max(this.#width, Math.min(worker.length, widthMax))
    }
    const name = worker.padEnd(this.#width)
    const painted = index === undefined ? name : this.#palette.worker(index)(name)
    return `${dim(clockTime(time))} ${painted}${this.#width === 0 ? '' : ' '}${dim(coloured ? '│' : '|')} `
  }
}

const timeWidth = 9
/** Maximum length of an error. Characters. */
const wholeLengthMax = 2_000

/** @returns the colour of an important event; nothing for other events */
function weightOf(type: string, data: unknown): 'red' | 'yellow' | undefined {
  const traits = catalog.traitsOf(type)
  const value = data as JsonValue | undefined
  const { outcome } = isObject(data) ? data : {}
  const isLost = type === 'worker.lost' || type === 'session.lost'
  const isBad = type === 'complete' && isObject(outcome) && Number(outcome['code'] ?? 0) !== 0
  if (isLost || isBad || isError({ type, data: value ?? null }, traits)) return 'red'
  const isCancelled = turnOf(traits, value)?.ending?.result === 'cancelled'
  return isCancelled || traits.asks !== undefined || type === 'worker.stalled' ? 'yellow' : undefined
}

function oneLine(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value ?? '')
  return terminalText(text).replaceAll(/\s+/g, ' ')
}

/** @returns the local date: `2026-01-31` */
function dayOf(time: number): string {
  const date = new Date(time)
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()]
    .map((n) => String(n).padStart(2, '0'))
    .join('-')
}

/** @returns the local time of day: `14:03:27` */
function clockTime(time: number): string {
  const date = new Date(time)
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((n) => String(n).padStart(2, '0'))
    .join(':')
}

/** @returns the notice for events that were shown before a secret was taken out of them */
function redactedText(offsets: unknown): string {
  const ranges = Array.isArray(offsets) ? offsets.filter((range) => Array.isArray(range)) : []
  const shown = ranges
    .slice(0, rangesShown)
    .map(([first, last]) => (first === last ? first : `${first}–${last}`))
  const more = ranges.length > shown.length ? ' and others' : ''
  return `a secret was taken out of ${terminalText(shown.join(', '))}${more}: what is shown of these offsets above may still have it`
}
