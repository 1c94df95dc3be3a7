import { isObject } from '../lib/json.js'
import { exitText } from './child.js'
import { type Palette, terminalText } from './paint.js'

/** An event as it comes over SSE, as far as it was understood. */
export interface ShownEvent {
  readonly type: string
  readonly time: number
  readonly worker: string
  readonly data: unknown
}

/** A longer name moves its own line alone. */
const widthMax = 20

/**
 * Writes events for people: time, worker, and what happened. Output of processes reads as it did where it was
 * printed, other events as their type and data.
 */
export class Transcript {
  readonly #palette: Palette
  readonly #columns: () => number
  /** By worker, in order of appearance: which decides its colour. */
  readonly #indexes = new Map<string, number>()
  #width = 0
  /** Whose line has not ended yet. */
  #open: string | undefined

  /** @param columns of the terminal; infinite where lines are not to be cut */
  constructor(palette: Palette, columns: () => number) {
    this.#palette = palette
    this.#columns = columns
  }

  /** @returns the text to write; it may end within a line */
  show(event: ShownEvent): string {
    const { type, data } = event
    if (type === 'process.output' && isObject(data) && typeof data['text'] === 'string') {
      return this.#output(event, String(data['stream']), data['text'])
    }
    if (type === 'client_output_delta' && isObject(data) && typeof data['content'] === 'string') {
      return this.#output(event, 'text', data['content'])
    }
    return `${this.end()}${this.#prefix(event)}${this.#described(event)}\n`
  }

  /** @returns the text of lines that belong together: the first tells when and who */
  lines(event: Pick<ShownEvent, 'time' | 'worker'>, lines: readonly string[]): string {
    if (lines.length === 0) return ''
    const first = this.#prefix(event)
    const { dim, coloured } = this.#palette
    const name = ' '.repeat(Math.max(this.#width, event.worker.length))
    const next = `${' '.repeat(timeWidth)}${name}${name === '' ? '' : ' '}${dim(coloured ? '│' : '|')} `
    return `${this.end()}${first}${lines.join(`\n${next}`)}\n`
  }

  /** Columns that are left beside the time and the worker. */
  get room(): number {
    return this.#columns() - timeWidth - this.#width - 4
  }

  /** @returns what ends the line that is open, if one is */
  end(): string {
    const ended = this.#open === undefined ? '' : '\n'
    this.#open = undefined
    return ended
  }

  #output(event: ShownEvent, stream: string, text: string): string {
    const source = `${stream} ${event.worker}`
    const prefix = this.#prefix(event)
    let shown = ''
    for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) {
      if (this.#open !== source) shown += this.end() + prefix
      shown += terminalText(line)
      this.#open = line.endsWith('\n') ? undefined : source
    }
    return shown
  }

  #described({ type, worker, data }: ShownEvent): string {
    const { bold, cyan, dim, green, red } = this.#palette
    if (isObject(data) && type === 'process.started' && typeof data['command'] === 'string') {
      return bold(terminalText(`$ ${data['command']}`).replaceAll('\n', ' '))
    }
    if (isObject(data) && type === 'process.exited' && typeof data['code'] === 'number') {
      const { how, after } = exitText({
        code: data['code'],
        signal: typeof data['signal'] === 'string' ? data['signal'] : null,
        durationMs: Number(data['durationMs']),
        ...(typeof data['error'] === 'string' && { error: terminalText(data['error']) }),
      })
      return (data['code'] === 0 ? green(how) : red(how)) + dim(after)
    }
    const said = isObject(data) ? this.#said(type, data) : undefined
    if (said !== undefined) return said
    const json = data === undefined || data === null ? '' : terminalText(JSON.stringify(data))
    const room = this.#columns() - timeWidth - Math.max(this.#width, worker.length) - type.length - 4
    const cut = json.length > room ? `${json.slice(0, Math.max(room - 1, 10))}…` : json
    return cyan(type) + (cut === '' || cut === '{}' ? '' : ` ${dim(cut)}`)
  }

  /** What an agent does, in the words of a terminal. */
  #said(type: string, data: Readonly<Record<string, unknown>>): string | undefined {
    const { bold, dim, green, red } = this.#palette
    const cut = (value: unknown): string => {
      const text = typeof value === 'string' ? value : JSON.stringify(value ?? '')
      const line = terminalText(text).replaceAll(/\s+/g, ' ')
      const room = Math.max(this.room - 30, 20)
      return line.length > room ? `${line.slice(0, room)}…` : line
    }
    switch (type) {
      case 'tool_call_started':
        return `${bold(`→ ${cut(data['tool_name'])}`)} ${dim(cut(data['tool_input'] ?? ''))}`
      case 'tool_call_completed': {
        const failed = data['is_error'] === true
        const name = `← ${cut(data['tool_name'])}`
        return `${failed ? red(`${name} failed`) : name} ${dim(cut(data['result'] ?? ''))}`
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
        return red(`failed: ${cut(data['error'] ?? '')}`)
      default:
        return undefined
    }
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

/** @returns the local time of day: `14:03:27` */
function clockTime(time: number): string {
  const date = new Date(time)
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((n) => String(n).padStart(2, '0'))
    .join(':')
}
