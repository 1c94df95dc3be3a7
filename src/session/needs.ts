import type { NeedKind } from '../catalog/traits.js'
import { cutText } from '../lib/cut-text.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { StateRoom } from '../state/room.js'

/** An unanswered question to a person. */
export type Need = {
  readonly kind: NeedKind
  /** The key for the answer: the request's own id, or else the offset of the question. */
  readonly key: string
  readonly offset: Offset
  /** Milliseconds since 1970. */
  readonly time: number
  /** The question, as text for people. */
  readonly text: string
}

/** How many needs are listed; the others are counted. */
export const needsListedMax = 20

/** Maximum of open needs; further questions are ignored. */
const needsMax = 1_000

const textLengthMax = 500

/** About what a question takes beside its text and key. Bytes. */
const overheadBytes = 128

/** What one takes at most, with the key that a producer may give. Bytes. */
export const needBytesMax = 1_024

/** The open needs of one worker, or of a session itself, in the order of the questions. */
export class Needs {
  #open: Need[] = []
  readonly #room: Pick<StateRoom, 'add'>

  /** @param room counts what they take */
  constructor(room: Pick<StateRoom, 'add'>) {
    this.#room = room
  }

  get open(): readonly Need[] {
    return this.#open
  }

  /** @returns whether it is new, and there is room for it */
  ask(need: Need): boolean {
    if (this.#open.length >= needsMax || this.#open.some((one) => isSame(one, need))) return false
    this.#open.push(need)
    this.#room.add(bytesOf(need))
    return true
  }

  /**
   * @param kind the kind of the question; `any` answers any question with the key
   * @param key absent: answers the oldest question of its kind, for runtimes that do not name requests
   * @returns whether there was such a question
   */
  answer(kind: NeedKind | 'any', key: string | undefined): boolean {
    const at = this.#open.findIndex(
      (need) => (kind === 'any' || need.kind === kind) && (key === undefined || need.key === key),
    )
    if (at === -1 || (kind === 'any' && key === undefined)) return false
    for (const need of this.#open.splice(at, 1)) this.#room.add(-bytesOf(need))
    return true
  }

  /** The worker or session has ended. @returns whether any need was open */
  clear(): boolean {
    const any = this.#open.length > 0
    for (const need of this.#open) this.#room.add(-bytesOf(need))
    this.#open = []
    return any
  }

  /** @returns whether any text is another one now */
  replaceTexts(change: (text: string) => string): boolean {
    const before = this.#open
    this.#open = before.map((need) => ({ ...need, text: change(need.text) }))
    const changed = this.#open.filter(({ text }, at) => text !== before[at]?.text)
    if (changed.length > 0) this.#room.add(sumOf(this.#open) - sumOf(before))
    return changed.length > 0
  }

  /** Restores the stored needs. */
  restore(needs: readonly Need[]): void {
    this.#open = [...needs]
    for (const need of needs) this.#room.add(bytesOf(need))
  }
}

/** @returns the fields `needs` and `needsMore` of a slice; empty if none is open */
export function needsFields(open: readonly Need[]): JsonObject {
  if (open.length === 0) return {}
  const more = open.length - needsListedMax
  return { needs: open.slice(0, needsListedMax), ...(more > 0 && { needsMore: more }) }
}

/** @returns the text of a question: its first field for people, or the tool that waits */
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

/** @returns a text unchanged, or the joined texts of a list of texts and questions */
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

function sumOf(needs: readonly Need[]): number {
  return needs.reduce((sum, need) => sum + bytesOf(need), 0)
}

function bytesOf({ key, text }: Need): number {
  return key.length + text.length + overheadBytes
}

function isSame(one: Need, other: Need): boolean {
  return one.key === other.key && one.kind === other.kind
}
