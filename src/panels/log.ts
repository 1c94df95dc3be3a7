// Longer than 350 lines: all that becomes of an event in a panel, in one pass.

import { type Look, plain, spansOf } from './ansi.js'
import { passes } from './filter.js'
import { type Fields, fieldsOf, type Json, type PanelEvent, textOf } from './model.js'

/** What a panel shows in one place. `revision` changes with what is shown. */
export interface Row {
  /** Again the same when the rows are made anew, so that what is open stays open and the focus stays. */
  readonly key: string
  readonly kind: 'line' | 'text' | 'tool' | 'event' | 'error' | 'notice'
  readonly type: string
  readonly time: number
  revision: number
  /** Of lines, growing text and notices: itself. Of the others: what stands beside the type. */
  text: string
  /** Of lines: how they begin. */
  readonly look: Look
  /** Of process output: which stream. */
  readonly stream?: string
  /** Shown when the row is open. */
  details?: Json
  /** Of events and errors: whose it is, which the session's own stream does not say otherwise. */
  readonly worker?: string
  /** Of tool calls: what is called. */
  readonly name?: string
  outcome?: 'running' | 'done' | 'failed'
  isOpen: boolean
  /** CSS pixels; an estimate until it is measured. */
  height: number
}

/** What a panel says itself, after the event of this offset. */
interface Notice {
  readonly notice: 'notice' | 'error'
  readonly text: string
  readonly time: number
  readonly offset: number
  /** What follows belongs to another epoch. */
  readonly anew: boolean
}

type Entry = PanelEvent | Notice

function isEvent(entry: Entry): entry is PanelEvent {
  return !('notice' in entry)
}

/** What one panel keeps at most: rows, events, and characters of text in its rows. */
export const rowsMax = 10_000
export const eventsMax = 10_000
export const charactersMax = 4_000_000
const rowCharactersMax = 4_000
const lineHeight = 20

/** Text that grows: the field of `data` that carries it, by type. */
const growing: ReadonlyMap<string, string> = new Map([
  ['llm_reasoning_delta', 'content'],
  ['llm_text_delta', 'content'],
  ['client_output_delta', 'content'],
  ['text-delta', 'delta'],
  ['data-text-delta', 'delta'],
  ['tool-input-delta', 'input_text_delta'],
  ['data-tool-input-delta', 'input_text_delta'],
])
const toolStarts = /^(tool_call_started|toolcall|(data-)?tool-input-(start|available))$/
const toolEnds = /^(tool_call_completed|toolresult|(data-)?tool-output-available)$/
const failures = /(^|[._-])(error|failed|failure|stalled|doom_loop)$/
const toolIdNames = ['tool_call_id', 'toolCallId', 'tool_use_id', 'call_id', 'id']
const toolNames = ['tool_name', 'toolName', 'tool', 'name']

/** The rows of one panel, made out of its events, within bounds. */
export class Log {
  rows: Row[] = []
  /** How many events of each type have come. */
  readonly types = new Map<string, number>()
  /** What waits until the panel goes on. */
  pending: Entry[] = []
  paused = false
  /** Pixels that left at the top since the view last asked. */
  removedHeight = 0
  /** How many events have come; `latest` is the time of the last live one. */
  received = 0
  /** Of the present epoch, by offset. */
  #entries: Entry[] = []
  /** Of epochs before: their offsets say nothing beside the present ones. */
  #earlier: Entry[] = []
  #patterns: readonly string[] = []
  /** Of the rows: how many epochs and notices they have, and how many rows the entry that is shown. */
  #epochs = 0
  #notices = 0
  #parts = 0
  /** The entry that is shown, as its rows' keys begin. */
  #keyed = ''
  /** The keys of rows that are to be open when they are made anew. */
  #open: ReadonlySet<string> = new Set()
  #characters = 0
  /** The rows that still grow: of process output by stream. */
  readonly #openLines = new Map<string, Row>()
  readonly #looks = new Map<string, Look>()
  readonly #tools = new Map<string, Row>()

  put(event: PanelEvent): void {
    this.#count(event.type, 1)
    this.#put(event)
  }

  #count(type: string, by: number): void {
    this.received += by
    this.types.set(type, (this.types.get(type) ?? 0) + by)
  }

  #put(entry: Entry): void {
    if (!this.paused) return this.#take(entry)
    this.pending.push(entry)
    if (this.pending.length > eventsMax * 1.1) this.pending = this.pending.slice(-eventsMax)
  }

  pause(): void {
    this.paused = true
  }

  goOn(): void {
    this.paused = false
    const { pending } = this
    this.pending = []
    for (const entry of pending) this.#take(entry)
  }

  /** Says something of the panel's own. */
  notice(text: string, time: number, notice: Notice['notice'] = 'notice'): void {
    this.#put({ notice, text, time, offset: this.#newest, anew: false })
  }

  /** Says that what follows belongs to another epoch. */
  beginAnew(text: string, time: number): void {
    this.#put({ notice: 'notice', text, time, offset: 0, anew: true })
  }

  /** Shows only what passes, of the events that are here as well. */
  choose(patterns: readonly string[]): void {
    this.#patterns = patterns
    this.#open = new Set(this.rows.filter(({ isOpen }) => isOpen).map(({ key }) => key))
    this.rows = []
    this.#characters = 0
    this.#epochs = 0
    this.#notices = 0
    for (const growing of [this.#openLines, this.#looks, this.#tools]) growing.clear()
    for (const entry of this.#all()) this.#show(entry)
    this.#open = new Set()
  }

  /**
   * Takes in what a wider filter brought: `retained` is all that the hub still has of it.
   *
   * @param had of which types all was here before
   */
  complete(retained: readonly PanelEvent[], had: (type: string) => boolean): void {
    const newest = this.#newest
    const added = retained.filter(({ type, offset }) => !had(type) || offset > newest)
    // Texts come in other pieces than they did before, so that those of a type are taken as a whole.
    const types = new Set(added.filter(({ type }) => !had(type)).map(({ type }) => type))
    const replaced = this.#entries.filter(isEvent).filter(({ type }) => types.has(type))
    const kept = this.#entries.filter((entry) => !isEvent(entry) || !types.has(entry.type))
    this.#entries = [...kept, ...added].toSorted((one, other) => one.offset - other.offset).slice(-eventsMax)
    for (const { type } of added) this.#count(type, 1)
    for (const { type } of replaced) this.#count(type, -1)
    this.choose(this.#patterns)
  }

  /** The offset of the newest event that has been taken. */
  get #newest(): number {
    return this.#entries.at(-1)?.offset ?? 0
  }

  #all(): Entry[] {
    return [...this.#earlier, ...this.#entries]
  }

  ndjson(): string {
    return this.#all()
      .filter(isEvent)
      .filter(({ type }) => passes(type, this.#patterns))
      .map((event) => `${JSON.stringify(event)}\n`)
      .join('')
  }

  #take(entry: Entry): void {
    if (!isEvent(entry) && entry.anew) {
      this.#earlier = this.#all().slice(-eventsMax)
      this.#entries = []
    }
    this.#entries.push(entry)
    if (this.#entries.length > eventsMax * 1.1) this.#entries = this.#entries.slice(-eventsMax)
    this.#show(entry)
  }

  #show(event: Entry): void {
    const { time } = event
    this.#parts = 0
    if (!isEvent(event)) {
      const { notice: kind, text, anew } = event
      if (anew) this.#epochs += 1
      this.#notices += 1
      this.#keyed = `notice ${this.#notices}`
      return void this.#add({ kind, type: kind === 'error' ? 'gap' : '', time, text })
    }
    const { type, offset } = event
    if (!passes(type, this.#patterns)) return
    this.#keyed = `${this.#epochs} ${offset}`
    const data = fieldsOf(event.data)
    if (type === 'process.output') return this.#output(data, event)
    const field = growing.get(type)
    if (field !== undefined && typeof data[field] === 'string') return this.#grow(data[field], event)
    if (toolStarts.test(type)) return this.#toolStarted(data, event)
    if (toolEnds.test(type)) return this.#toolEnded(data, event)
    const kind = isFailure(type, data) ? 'error' : 'event'
    const { worker } = event
    const whose = worker !== undefined && { worker }
    this.#add({ kind, type, time, text: summaryOf(event.data), details: event.data, ...whose })
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
        row = this.#add({
          kind: 'line',
          type,
          time,
          text: '',
          stream,
          look: this.#looks.get(stream) ?? plain,
        })
        this.#openLines.set(stream, row)
      }
      this.#append(row, piece)
      if (isLast) return
      this.#looks.set(stream, spansOf(row.text, row.look).after)
      this.#openLines.delete(stream)
    })
  }

  #append(row: Row, piece: string): void {
    // A carriage return alone writes the line anew, as progress bars do.
    const written = row.text + piece
    let end = written.length
    // Not by a pattern: at a run of them it would begin anew with each.
    while (written[end - 1] === '\r') end -= 1
    const whole = written.slice(0, end)
    const text = whole.slice(whole.lastIndexOf('\r') + 1).slice(0, rowCharactersMax * 4)
    this.#characters += text.length - row.text.length
    row.text = text
    row.height = Math.max(row.height, lineHeight)
    row.revision += 1
  }

  #grow(piece: string, { type, time }: PanelEvent): void {
    const last = this.rows.at(-1)
    const goesOn = last?.kind === 'text' && last.type === type && last.text.length < rowCharactersMax
    const row = goesOn ? last : this.#add({ kind: 'text', type, time, text: '' })
    row.text += piece
    row.revision += 1
    this.#characters += piece.length
  }

  #toolStarted(data: Fields, event: PanelEvent): void {
    const id = textOf(data, toolIdNames)
    const known = id === '' ? undefined : this.#tools.get(id)
    const text = summaryOf(inputOf(data))
    if (known !== undefined) {
      known.text = text
      known.details = event.data
      known.revision += 1
      return
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
    const outcome = failed ? 'failed' : 'done'
    const row = this.#tools.get(key)
    if (row === undefined) {
      const text = summaryOf(event.data)
      this.#add({
        kind: 'tool',
        type: event.type,
        time: event.time,
        text,
        name,
        details: event.data,
        outcome,
      })
      return
    }
    this.#tools.delete(key)
    row.outcome = outcome
    row.details = { call: row.details ?? null, result: event.data }
    row.revision += 1
  }

  #add(row: Pick<Row, 'kind' | 'type' | 'time' | 'text'> & Partial<Row>): Row {
    this.#parts += 1
    const key = `${this.#keyed} ${this.#parts}`
    const made: Row = { look: plain, isOpen: this.#open.has(key), revision: 0, height: 0, ...row, key }
    made.height = made.kind === 'line' ? lineHeight : lineHeight + 8
    this.#characters += made.text.length
    // Whatever stands between ends the growing line of the other stream's neighbour only by its own line break.
    this.rows.push(made)
    if (this.rows.length > rowsMax * 1.1 || this.#characters > charactersMax) this.#trim()
    return made
  }

  #trim(): void {
    let count = Math.max(0, this.rows.length - rowsMax)
    let characters = this.#characters
    for (let at = 0; at < count; at += 1) characters -= this.rows[at]?.text.length ?? 0
    while (characters > charactersMax * 0.9 && count < this.rows.length - 1) {
      characters -= this.rows[count]?.text.length ?? 0
      count += 1
    }
    const left = new Set(this.rows.slice(0, count))
    for (const { height } of left) this.removedHeight += height
    this.rows = this.rows.slice(count)
    this.#characters = characters
    for (const [tool, row] of this.#tools) if (left.has(row)) this.#tools.delete(tool)
  }
}

function isFailure(type: string, data: Fields): boolean {
  if (failures.test(type)) return true
  if (type !== 'process.exited') return false
  return data['code'] !== 0
}

function inputOf(data: Fields): Json {
  return data['input'] ?? data['tool_input'] ?? data['args'] ?? data['arguments'] ?? ''
}

const summaryMax = 160

/** @returns a value on one line, as a person would note it down */
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
  return Array.isArray(value)
    ? value.map((each) => (typeof each === 'object' ? '…' : String(each))).join(' ')
    : '{…}'
}

function clipped(text: string): string {
  const line = text.slice(0, summaryMax + 1).replaceAll(/\s+/g, ' ')
  return text.length > summaryMax ? `${line.slice(0, summaryMax)}…` : line
}
