import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { overLog } from './over-log.js'

/** One example of `docs/protocol.md`: what goes to and fro, in the order of the page. */
export interface Dialogue {
  /** The heading under which it stands. */
  readonly heading: string
  /** Its first line in the page, from 1. */
  readonly line: number
  readonly lines: readonly Line[]
}

export interface Line {
  readonly from: 'client' | 'hub'
  /** Whose connection; empty for the one without a name. */
  readonly connection: string
  readonly frame: JsonObject
}

const linePattern = /^([a-z]*)([<>]) (.+)$/

/**
 * Reads the fenced blocks marked `dialogue` of a page.
 *
 * @throws Error that names the line when a block is not of the form `[name]> {json}` or `[name]< {json}`
 */
export function parseDialogues(markdown: string): Dialogue[] {
  const dialogues: Dialogue[] = []
  let heading = ''
  let open: Line[] | undefined
  let fence: string | undefined
  for (const [index, text] of markdown.split('\n').entries()) {
    if (fence === undefined) {
      fence = /^(`{3,})/.exec(text)?.[1]
      heading = /^#+ (.+)$/.exec(text)?.[1] ?? heading
      if (fence === undefined || text.slice(fence.length) !== 'dialogue') continue
      open = []
      dialogues.push({ heading, line: index + 2, lines: open })
    } else if (text === fence) {
      fence = undefined
      open = undefined
    } else {
      open?.push(parseLine(text, index + 1))
    }
  }
  if (fence !== undefined) throw new Error(`the block under "${heading}" is not closed`)
  return dialogues
}

function parseLine(text: string, line: number): Line {
  const [, connection, arrow, json] = linePattern.exec(text) ?? []
  if (connection === undefined || json === undefined) {
    throw new Error(`line ${line}: expected [name]> {json} or [name]< {json}, got ${text}`)
  }
  let frame: JsonValue
  try {
    frame = JSON.parse(json) as JsonValue
  } catch (error) {
    throw new Error(`line ${line}: ${String(error)}`, { cause: error })
  }
  if (!isObject(frame)) throw new Error(`line ${line}: expected an object`)
  return { from: arrow === '>' ? 'client' : 'hub', connection, frame }
}

/** Fields that hold offsets. An example's offsets stand for whichever the hub gave, in the same order. */
const offsetFields = new Set(['offset', 'first', 'last', 'after', 'base'])

const placeholder = /<[a-z ]+>/g

/** Each time is another one; every other placeholder stands for one value throughout a dialogue. */
const unbound = new Set(['<time>', '<message>', '<reason>'])

/**
 * What the placeholders and offsets of one dialogue stand for. What comes first decides; what comes later must
 * agree with it.
 */
export class Meanings {
  readonly #values = new Map<string, JsonValue>()
  readonly #offsets = new Map<number, number>()

  /** @returns the frame as a client sends it: placeholders and cursors filled in. */
  fill(frame: JsonObject): JsonObject {
    return this.#filled(frame) as JsonObject
  }

  /** @returns how the frame that came differs from the one expected, as one line each; empty when it does not. */
  compare(expected: JsonObject, came: JsonValue): string[] {
    const differences: string[] = []
    this.#compare(expected, came, '', '', differences)
    return differences
  }

  #filled(value: JsonValue): JsonValue {
    if (typeof value === 'string') return this.#filledText(value)
    if (Array.isArray(value)) return value.map((item: JsonValue) => this.#filled(item))
    if (!isObject(value)) return value
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.#filled(item)]))
  }

  #filledText(text: string): JsonValue {
    const whole = this.#values.get(text)
    if (whole !== undefined) return whole
    const cursor = /^(<[a-z ]+>):(\d+)$/.exec(text)
    if (cursor?.[1] !== undefined) {
      const offset = Number(cursor[2])
      return `${this.#known(cursor[1])}:${this.#offsets.get(offset) ?? offset}`
    }
    return text.replaceAll(placeholder, (name) => this.#known(name))
  }

  #known(name: string): string {
    const value = this.#values.get(name)
    if (value === undefined) throw new Error(`${name} is used before the hub has said it`)
    return typeof value === 'string' ? value : JSON.stringify(value)
  }

  #compare(expected: JsonValue, came: JsonValue | undefined, at: string, field: string, out: string[]): void {
    if (came === undefined) {
      out.push(`${at}: expected ${JSON.stringify(expected)}, got nothing`)
    } else if (typeof expected === 'number' && typeof came === 'number' && offsetFields.has(field)) {
      if (!this.#sameOffset(expected, came)) out.push(`${at}: ${came} is out of place as offset ${expected}`)
    } else if (typeof expected === 'string' && /^<[a-z ]+>$/.test(expected)) {
      if (unbound.has(expected)) return
      const known = this.#values.get(expected)
      if (known === undefined) this.#values.set(expected, came)
      else if (known !== came)
        out.push(`${at}: ${expected} was ${JSON.stringify(known)}, got ${JSON.stringify(came)}`)
    } else if (Array.isArray(expected) && Array.isArray(came)) {
      if (expected.length !== came.length) out.push(`${at}: expected ${expected.length}, got ${came.length}`)
      for (const [index, item] of expected.entries()) {
        this.#compare(item as JsonValue, came[index] as JsonValue, `${at}/${index}`, '', out)
      }
    } else if (isObject(expected) && isObject(came)) {
      // What an event carries is the producer's: its fields are not the protocol's.
      const inData = field === 'data'
      for (const [name, item] of Object.entries(expected)) {
        this.#compare(item, came[name], `${at}/${name}`, inData && name !== 'base' ? '' : name, out)
      }
      for (const name of Object.keys(came)) {
        if (!Object.hasOwn(expected, name)) out.push(`${at}/${name}: expected nothing`)
      }
    } else if (expected !== came) {
      out.push(`${at}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(came)}`)
    }
  }

  #sameOffset(expected: number, came: number): boolean {
    const known = this.#offsets.get(expected)
    if (known !== undefined) {
      // After an event over a log there are offsets that no event takes.
      const next = [...this.#offsets.values()].filter((other) => other > known)
      return came === known || (overLog && came > known && came < Math.min(...next, Number.POSITIVE_INFINITY))
    }
    this.#offsets.set(expected, came)
    return [...this.#offsets].every(([one, other]) => Math.sign(one - expected) === Math.sign(other - came))
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
