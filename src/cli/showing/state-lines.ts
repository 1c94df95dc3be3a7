import type { JsonObject, JsonValue } from '../../lib/json.js'
import { type Offset, start } from '../../protocol/cursor.js'
import type { Cause, HubEvent, PatchOperation, Slices, StateUpdate } from '../../protocol/frames.js'
import { compare } from '../../state/compare.js'
import { followPatch } from '../../state/follow-patch.js'
import { StateMirror } from '../../state/mirror.js'
import { parsePointer } from '../../state/pointer.js'
import { type Palette, terminalText } from './paint.js'

/** Lines of one publisher: a worker, or the session itself without a name. */
export interface PublisherLines {
  readonly worker: string
  readonly lines: readonly string[]
}

/** Maximum of lines of one slice; the others are counted. */
const outlineLinesMax = 40
const changesMax = 20
const widthMin = 20
const widthDefault = 100

/**
 * Writes state for people: first the slices, and then their changes, path by path. It mirrors
 * them as any client does.
 */
export class StateLines {
  readonly #palette: Palette
  readonly #columns: () => number
  /** The topic is `sessions/{s}/**`, where a worker's slice is named `workers/{w}/{slice}`. */
  readonly #all: boolean
  #mirror: StateMirror | undefined
  /** A snapshot has no offset over SSE; it contains everything before the next update. */
  #snapshot: Slices | undefined

  /** @param columns of a line; infinite if unknown */
  constructor(palette: Palette, { columns, all }: { readonly columns: () => number; readonly all: boolean }) {
    this.#palette = palette
    this.#columns = columns
    this.#all = all
  }

  /** Takes `state.initial`. */
  begin(slices: Slices): readonly PublisherLines[] {
    const before = this.#slices()
    this.#snapshot = slices
    const shown = new Map<string, string[]>()
    for (const [name, value] of Object.entries(slices)) {
      const { worker, slice } = this.#ownerOf(name)
      const old = before[name]
      // State that is known from before a cut is not shown again; changes since then are.
      const lines = old === undefined ? this.#value(slice, value) : this.#difference(slice, old, value)
      shown.set(worker, [...(shown.get(worker) ?? []), ...lines])
    }
    for (const name of Object.keys(before)) {
      if (Object.hasOwn(slices, name)) continue
      const { worker, slice } = this.#ownerOf(name)
      shown.set(worker, [...(shown.get(worker) ?? []), this.#removed(slice)])
    }
    return [...shown].flatMap(([worker, lines]) => (lines.length === 0 ? [] : [{ worker, lines }]))
  }

  /** Takes a `state.update`. */
  update(event: Pick<HubEvent, 'offset' | 'worker' | 'data'>): readonly string[] {
    const { slice, cause } = event.data as unknown as StateUpdate
    const name = this.#all && event.worker !== undefined ? `workers/${event.worker}/${slice}` : slice
    const before = this.#slices()[name]
    if (this.#snapshot !== undefined) {
      this.#mirror = StateMirror.of(this.#snapshot, (event.offset - 1) as Offset)
      this.#snapshot = undefined
    }
    const mirroring = (this.#mirror ?? StateMirror.of({}, start)).apply(event, this.#all)
    if (mirroring.kind === 'mismatch') return this.#unknown(event.data as unknown as StateUpdate)
    this.#mirror = mirroring.mirror
    const after = mirroring.mirror.slices[name]
    if (after === undefined) return before === undefined ? [] : [this.#removed(slice, cause)]
    return before === undefined
      ? this.#value(slice, after, cause)
      : this.#difference(slice, before, after, cause)
  }

  #slices(): Slices {
    return this.#snapshot ?? this.#mirror?.slices ?? {}
  }

  #ownerOf(name: string): { readonly worker: string; readonly slice: string } {
    const [, worker, slice] = (this.#all && /^workers\/([^/]+)\/(.+)$/.exec(name)) || []
    return worker === undefined || slice === undefined ? { worker: '', slice: name } : { worker, slice }
  }

  #value(slice: string, value: JsonValue, cause?: Cause): string[] {
    const head = this.#head(slice, cause)
    const inline = textOf(value)
    if (inline.length <= this.#room(slice.length + 3)) return [`${head} ${this.#palette.green(inline)}`]
    const lines: string[] = []
    outline(value, '  ', { room: this.#room(0), lines })
    const shown = lines.slice(0, outlineLinesMax).map(this.#palette.green)
    return [head, ...shown, ...this.#more(lines.length - shown.length, 'lines')]
  }

  #removed(slice: string, cause?: Cause): string {
    return `${this.#head(slice, cause)} ${this.#palette.red('removed')}`
  }

  #difference(slice: string, before: JsonValue, after: JsonValue, cause?: Cause): string[] {
    const { patch } = compare(before, after)
    const changes = slice === '$workers' ? patch.filter(({ path }) => !path.endsWith('/events')) : patch
    if (changes.length === 0) return []
    const whole = changes.length === 1
    const indent = whole ? '' : '  '
    const lines: string[] = []
    let value = before
    for (const operation of patch) {
      if (lines.length === changesMax) break
      // Indexes of lists are valid at the moment when the operation is applied.
      if (changes.includes(operation)) lines.push(indent + this.#change(operation, value, slice.length + 3))
      value = followPatch(value, [operation])
    }
    const head = this.#head(slice, cause)
    if (whole) return [`${head} ${lines[0]}`]
    return [head, ...lines, ...this.#more(changes.length - lines.length, 'changes')]
  }

  /** The update of a slice with an unknown value, as after `--since`: only the new values. */
  #unknown(update: StateUpdate): string[] {
    if (!('patch' in update)) return []
    const lines = update.patch
      .slice(0, changesMax)
      .map((operation) => `  ${this.#change(operation, undefined, 4)}`)
    return [
      this.#head(update.slice, update.cause),
      ...lines,
      ...this.#more(update.patch.length - lines.length, 'changes'),
    ]
  }

  #change(operation: PatchOperation, before: JsonValue | undefined, taken: number): string {
    const { green, red, yellow, dim } = this.#palette
    const path = terminalText(operation.path) || '(all of it)'
    const room = this.#room(taken + path.length + 8)
    const old = (most: number): string => {
      const value = before === undefined ? undefined : valueAt(before, operation.path)
      return value === undefined ? '' : cut(textOf(value), most)
    }
    switch (operation.op) {
      case 'add':
        return `${green(`+ ${path}`)} ${green(cut(textOf(operation.value), room))}`
      case 'remove':
        return `${red(`- ${path}`)} ${red(old(room))}`.trimEnd()
      case 'replace': {
        const half = Math.max(widthMin, Math.floor(room / 2))
        const said = old(half)
        const arrow = said === '' ? '' : `${red(said)} ${dim('→')} `
        return `${yellow(`~ ${path}`)} ${arrow}${green(cut(textOf(operation.value), half))}`
      }
      default:
        return `${yellow(`~ ${path}`)} ${dim(operation.op)}`
    }
  }

  #head(slice: string, cause?: Cause): string {
    const { bold, cyan, dim } = this.#palette
    const why = cause === undefined ? '' : ` ${dim(`(${terminalText(cause.type)})`)}`
    return bold(cyan(terminalText(slice))) + why
  }

  #more(count: number, what: string): string[] {
    return count <= 0 ? [] : [`  ${this.#palette.dim(`… and ${count} more ${what}`)}`]
  }

  #room(taken: number): number {
    const columns = this.#columns()
    return Math.max(widthMin, (Number.isFinite(columns) ? columns : widthDefault) - taken)
  }
}

/** A value as indented lines: what fits one line stands on it. A few more than are shown are made, for the count. */
function outline(
  value: JsonValue,
  indent: string,
  to: { readonly room: number; readonly lines: string[] },
): void {
  const entries: readonly (readonly [string, JsonValue])[] = Array.isArray(value)
    ? (value as readonly JsonValue[]).map((item, at) => [String(at), item])
    : Object.entries(value as JsonObject)
  for (const [name, item] of entries) {
    const head = `${indent}${terminalText(name)}: `
    const inline = textOf(item)
    if (head.length + inline.length <= to.room || typeof item !== 'object' || item === null) {
      to.lines.push(head + cut(inline, Math.max(widthMin, to.room - head.length)))
    } else {
      to.lines.push(head.trimEnd())
      if (to.lines.length <= outlineLinesMax) outline(item, `${indent}  `, to)
    }
  }
}

function valueAt(value: JsonValue, path: string): JsonValue | undefined {
  return parsePointer(path, () => 'path').reduce<JsonValue | undefined>(
    (at, name) => (typeof at === 'object' && at !== null ? (at as JsonObject)[name] : undefined),
    value,
  )
}

function textOf(value: JsonValue): string {
  return terminalText(JSON.stringify(value))
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, Math.max(most - 1, 1))}…` : text
}
