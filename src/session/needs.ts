import type { NeedKind } from '../catalog/traits.js'
import { cutText } from '../lib/cut-text.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'

/** A question to a person that nobody has answered yet. */
export type Need = {
  readonly kind: NeedKind
  /** What its answer names: the request's own id, or else the offset of the question. */
  readonly key: string
  readonly offset: Offset
  /** Milliseconds since 1970. */
  readonly time: number
  /** What is asked, as a person reads it. */
  readonly text: string
}

/** Needs that are listed; the rest is counted. */
export const needsListedMax = 20

/** Needs that are kept to be answered; what is asked beyond them is not shown. */
const needsMax = 1_000

const textLengthMax = 500

/** The open questions of one worker, or of a session itself, in the order in which they were asked. */
export class Needs {
  #open: Need[] = []

  get open(): readonly Need[] {
    return this.#open
  }

  /** @returns whether it is new, and there is room for it */
  ask(need: Need): boolean {
    if (this.#open.length >= needsMax || this.#open.some((one) => isSame(one, need))) return false
    this.#open.push(need)
    return true
  }

  /**
   * @param kind what the answer is for; `any` answers whatever has the key
   * @param key absent: the oldest of its kind is answered, as runtimes do that name no request
   * @returns whether there was such a question
   */
  answer(kind: NeedKind | 'any', key: string | undefined): boolean {
    const at = this.#open.findIndex(
      (need) => (kind === 'any' || need.kind === kind) && (key === undefined || need.key === key),
    )
    if (at === -1 || (kind === 'any' && key === undefined)) return false
    this.#open.splice(at, 1)
    return true
  }

  /** Who asked has ended. @returns whether anything was open */
  clear(): boolean {
    const any = this.#open.length > 0
    this.#open = []
    return any
  }

  /** Continues as the store has it. */
  restore(needs: readonly Need[]): void {
    this.#open = [...needs]
  }
}

/** @returns the fields `needs` and `needsMore` of a slice; none where nothing is open */
export function needsFields(open: readonly Need[]): JsonObject {
  if (open.length === 0) return {}
  const more = open.length - needsListedMax
  return { needs: open.slice(0, needsListedMax), ...(more > 0 && { needsMore: more }) }
}

/** @returns what a question asks: its first field that is meant for a person, or the tool that waits */
export function needText(data: JsonValue | undefined): string {
  if (typeof data === 'string') return cutText(data, textLengthMax)
  if (!isObject(data)) return ''
  const fields = data
  for (const name of ['prompt', 'question', 'questions', 'message', 'action', 'text']) {
    const text = textOf(fields[name])
    if (text !== '') return cutText(text, textLengthMax)
  }
  const { tool_name: tool, arguments: given } = fields
  if (typeof tool !== 'string') return ''
  return cutText(
    given === undefined || given === null ? tool : `${tool} ${JSON.stringify(given)}`,
    textLengthMax,
  )
}

/** @returns a text as it is, or those of a list of texts and of questions */
function textOf(value: JsonValue | undefined): string {
  if (typeof value === 'string') return value.trim()
  if (!Array.isArray(value)) return ''
  return value
    .map((item: JsonValue) => {
      const { question, text } = (typeof item === 'object' && item !== null ? item : {}) as JsonObject
      return [item, question, text].find((one) => typeof one === 'string') ?? ''
    })
    .filter(Boolean)
    .join(' ')
}

function isSame(one: Need, other: Need): boolean {
  return one.key === other.key && one.kind === other.kind
}
