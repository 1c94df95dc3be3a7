import { clientClock } from '../client/surroundings.js'
import { type Look, plain, spansOf } from './ansi.js'
import { dayText } from './format.js'
import { isProse, pieceOf } from './growing-text.js'
import { type Fields, fieldsOf, type Json, type PanelEvent, textOf } from './model.js'

/** One row of a panel. `revision` changes whenever its content does. */
export interface Row {
  /** Stays the same when the rows are rebuilt, so that open rows stay open and the focus stays. */
  readonly key: string
  readonly kind: 'line' | 'text' | 'tool' | 'event' | 'error' | 'notice' | 'date'
  readonly type: string
  readonly time: number
  /** The offsets of its first and its last event. */
  readonly offset: number
  last: number
  revision: number
  /** The content of lines, growing text and notices; for the other kinds the text beside the type. */
  text: string
  /** Of lines: the colours and styles at their beginning. */
  readonly look: Look
  /** Of process output: its stream. */
  readonly stream?: string
  /** Of growing text: its path in the data, and whether it is prose, which is drawn as Markdown. */
  readonly path?: string
  readonly isProse?: boolean
  /** Shown when the row is open: the data of the event; of a tool call, of its first event. */
  details?: Json
  /** Of tool calls that have ended: the data of the last event, and the duration in milliseconds. */
  result?: Json
  tookMs?: number
  /** Of events and errors: the worker. The session's own panel shows it. */
  readonly worker?: string
  /** Of tool calls: the name of the tool. */
  readonly name?: string
  outcome?: 'running' | 'done' | 'failed'
  isOpen: boolean
  /** CSS pixels; an estimate until it is measured. */
  height: number
}

/** A message of the panel itself, after the event of this offset. */
export interface Notice {
  readonly notice: 'notice' | 'gap' | 'ended'
  readonly text: string
  readonly time: number
  readonly offset: number
  /** The following entries belong to another epoch. */
  readonly anew: boolean
}

export type Entry = PanelEvent | Notice

export function isEvent(entry: Entry): entry is PanelEvent {
  return !('notice' in entry)
}

/** Maximum of rows of a panel, and of characters of their text. */
export const rowsMax = 10_000
export const charactersMax = 4_000_000
const textCharactersMax = 16_000
const lineCharactersMax = 16_000
const lineHeight = 20

const toolStarts = /^(tool_call_started|toolcall|(data-)?tool-input-(start|available))$/
const toolEnds = /^(tool_call_completed|toolresult|(data-)?tool-output-available)$/
const failures = /(^|[._-])(error|failed|failure|stalled|doom_loop|lost)$/
const toolIdNames = ['tool_call_id', 'toolCallId', 'tool_use_id', 'call_id', 'id']
const toolNames = ['tool_name', 'toolName', 'tool', 'name']

/** The rows of one panel, made from its events, within bounds. */
export class Rows {
  list: Row[] = []
  /** The height of the rows removed at the top since this was last reset. CSS pixels. */
  removedHeight = 0
  /** The number of epochs and notices so far, and of rows of the present entry. */
  #epochs = 0
  #notices = 0
  #parts = 0
  /** The beginning of the keys of the present entry's rows, and its offset. */
  #keyed = ''
  #offset = 0
  #day = ''
  #characters = 0
  /** The unfinished lines of process output, by stream. */
  readonly #openLines = new Map<string, Row>()
  readonly #looks = new Map<string, Look>()
  readonly #tools = new Map<string, Row>()
  /** The former rows by key, which pass on whether they are open, and their height. */
  readonly #before: ReadonlyMap<string, Row>

  constructor(before: readonly Row[] = []) {
    this.#before = new Map(before.map((row) => [row.key, row]))
  }

  show(entry: Entry): void {
    const { time } = entry
    this.#parts = 0
    this.#offset = entry.offset
    if (!isEvent(entry)) {
      const { notice, text, anew } = entry
      if (anew) this.#epochs += 1
      this.#notices += 1
      this.#keyed = `notice ${this.#notices}`
      const isNotice = notice === 'notice'
      return void this.#add({
        kind: isNotice ? 'notice' : 'error',
        type: isNotice ? '' : notice,
        time,
        text,
      })
    }
    const { type, offset } = entry
    this.#keyed = `${this.#epochs} ${offset}`
    this.#dated(time)
    const data = fieldsOf(entry.data)
    if (type === 'process.output') return this.#output(data, entry)
    const piece = pieceOf(type, entry.data)
    if (piece !== undefined) return this.#grow(piece, entry)
    if (toolStarts.test(type)) return this.#toolStarted(data, entry)
    if (toolEnds.test(type)) return this.#toolEnded(data, entry)
    const kind = isFailure(type, data) ? 'error' : 'event'
    const { worker } = entry
    const { type: named, ...rest } = data
    const text = summaryOf(named === type ? rest : entry.data)
    this.#add({ kind, type, time, text, details: entry.data, ...(worker !== undefined && { worker }) })
  }

  /** Adds a row with the date when the day changes. The first event needs none if it is of today. */
  #dated(time: number): void {
    const day = new Date(time).toDateString()
    if (day === this.#day) return
    const isToday = this.#day === '' && day === new Date(clientClock.now()).toDateString()
    this.#day = day
    if (!isToday) this.#add({ kind: 'date', type: '', time, text: dayText(time) })
  }

  #output(data: Fields, { type, time }: PanelEvent): void {
    const stream = typeof data['stream'] === 'string' ? data['stream'] : 'stdout'
    const lines = textOf(data, ['text']).split('\n')
    lines.forEach((piece, at) => {
      const isLast = at === lines.length - 1
      const open = this.#openLines.get(stream)
      if (isLast && piece === '') return
      let row = open
      if (row === undefined) {
        const look = this.#looks.get(stream) ?? plain
        row = this.#add({ kind: 'line', type, time, text: '', stream, look })
        this.#openLines.set(stream, row)
      }
      this.#append(row, piece)
      if (isLast) return
      this.#looks.set(stream, spansOf(row.text, row.look).after)
      this.#openLines.delete(stream)
    })
  }

  #append(row: Row, piece: string): void {
    // A lone carriage return overwrites the line, as progress bars do.
    const written = withoutErased(row.text + piece)
    let end = written.length
    // A regular expression would take quadratic time for a run of carriage returns.
    while (written[end - 1] === '\r') end -= 1
    const whole = written.slice(0, end)
    const text = whole.slice(whole.lastIndexOf('\r') + 1).slice(0, lineCharactersMax)
    this.#characters += text.length - row.text.length
    row.text = text
    row.height = Math.max(row.height, lineHeight)
    this.#touch(row)
  }

  #grow({ text, path }: { readonly text: string; readonly path: string }, { type, time }: PanelEvent): void {
    const last = this.list.at(-1)
    const goesOn =
      last?.kind === 'text' &&
      last.type === type &&
      last.path === path &&
      last.text.length < textCharactersMax
    const row = goesOn
      ? last
      : this.#add({ kind: 'text', type, time, text: '', path, isProse: isProse({ type, path }) })
    row.text += text
    this.#touch(row)
    this.#characters += text.length
  }

  #toolStarted(data: Fields, event: PanelEvent): void {
    const id = textOf(data, toolIdNames)
    const known = id === '' ? undefined : this.#tools.get(id)
    const text = summaryOf(inputOf(data))
    if (known !== undefined) {
      known.text = text
      known.details = event.data
      return this.#touch(known)
    }
    const row = this.#add({
      kind: 'tool',
      type: event.type,
      time: event.time,
      text,
      name: textOf(data, toolNames),
      details: event.data,
      outcome: 'running',
    })
    this.#tools.set(id === '' ? textOf(data, toolNames) : id, row)
  }

  #toolEnded(data: Fields, event: PanelEvent): void {
    const name = textOf(data, toolNames)
    const key = [textOf(data, toolIdNames), name].find((each) => this.#tools.has(each)) ?? ''
    const failed = data['is_error'] === true || data['success'] === false || textOf(data, ['error']) !== ''
    const { type, time } = event
    const began = this.#tools.get(key)
    this.#tools.delete(key)
    const row = began ?? this.#add({ kind: 'tool', type, time, text: summaryOf(event.data), name })
    if (began !== undefined) row.tookMs = Math.max(0, time - row.time)
    row.outcome = failed ? 'failed' : 'done'
    row.result = event.data
    this.#touch(row)
  }

  #touch(row: Row): void {
    row.last = this.#offset
    row.revision += 1
  }

  #add(row: Pick<Row, 'kind' | 'type' | 'time' | 'text'> & Partial<Row>): Row {
    this.#parts += 1
    const key = `${this.#keyed} ${this.#parts}`
    const before = this.#before.get(key)
    const made: Row = {
      look: plain,
      offset: this.#offset,
      last: this.#offset,
      isOpen: before?.isOpen ?? false,
      revision: 0,
      height: 0,
      ...row,
      key,
    }
    made.height = before?.height ?? (made.kind === 'line' ? lineHeight : lineHeight + 8)
    this.#characters += made.text.length
    this.list.push(made)
    if (this.list.length > rowsMax * 1.1 || this.#characters > charactersMax) this.#trim()
    return made
  }

  #trim(): void {
    let count = Math.max(0, this.list.length - rowsMax)
    let characters = this.#characters
    for (let at = 0; at < count; at += 1) characters -= this.list[at]?.text.length ?? 0
    while (characters > charactersMax * 0.9 && count < this.list.length - 1) {
      characters -= this.list[count]?.text.length ?? 0
      count += 1
    }
    const left = new Set(this.list.slice(0, count))
    for (const { height } of left) this.removedHeight += height
    this.list = this.list.slice(count)
    this.#characters = characters
    for (const [tool, row] of this.#tools) if (left.has(row)) this.#tools.delete(tool)
  }
}

/** Applies backspaces, which spinners write: each removes the character before it. */
function withoutErased(text: string): string {
  if (!text.includes('\b')) return text
  const kept: string[] = []
  for (const character of text) {
    if (character === '\b') kept.pop()
    else kept.push(character)
  }
  return kept.join('')
}

function isFailure(type: string, data: Fields): boolean {
  if (failures.test(type)) return true
  if (type !== 'process.exited') return data['is_error'] === true || data['success'] === false
  return data['code'] !== 0 && data['cancelled'] !== true
}

/** @returns the arguments of a tool call, from the data of its event */
export function inputOf(data: Fields): Json {
  return data['input'] ?? data['tool_input'] ?? data['args'] ?? data['arguments'] ?? ''
}

/** @returns the result of a tool call, from the data of its event; all of the data if it names no result */
export function outputOf(data: Json): Json {
  const fields = fieldsOf(data)
  return fields['result'] ?? fields['output'] ?? fields['content'] ?? fields['error'] ?? data
}

const summaryMax = 160

/** @returns a value as a short text on one line */
export function summaryOf(value: Json): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'object') return clipped(String(value))
  if (Array.isArray(value)) return clipped(JSON.stringify(value.slice(0, 20)))
  const parts = Object.entries(value)
    .filter(([, each]) => each !== null)
    .slice(0, 8)
    .map(
      ([name, each]) =>
        `${name} ${typeof each === 'object' && each !== null ? shortJson(each) : String(each)}`,
    )
  return clipped(parts.join(' · '))
}

function shortJson(value: Json): string {
  if (Array.isArray(value)) {
    return value.map((each) => (typeof each === 'object' ? '…' : String(each))).join(' ')
  }
  // One more level is shown: `outcome {status ok}` says more than `outcome {…}`.
  const parts = Object.entries(value as Fields)
    .slice(0, 4)
    .map(([name, each]) => `${name} ${typeof each === 'object' && each !== null ? '…' : String(each)}`)
  return `{${parts.join(', ')}}`
}

function clipped(text: string): string {
  const line = text.slice(0, summaryMax + 1).replaceAll(/\s+/g, ' ')
  return text.length > summaryMax ? `${line.slice(0, summaryMax)}…` : line
}
