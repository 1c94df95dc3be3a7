import type { ToolPart } from '../catalog/traits.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'

/** Why something seems to be stuck: a call is open for long, the same call comes again and again, or nothing comes. */
export type StallReason = 'call' | 'repeat' | 'silence'

export type Stalled = {
  /** When what is stuck began. Milliseconds since 1970. */
  readonly since: number
  readonly why: StallReason
}

/** A call of a tool that has not come to its end. */
export interface OpenCall {
  readonly id: string
  readonly tool: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/** A call that came so many times in a row. */
interface Repeated {
  readonly call: string
  readonly tool: string
  readonly times: number
  readonly since: number
}

/** From when on something counts as stuck; 0: never. */
export interface StallLimits {
  readonly stalledCallMs: number
  readonly stalledSilenceMs: number
  readonly stalledRepeats: number
}

/** Calls that one worker may have open; the oldest is forgotten. */
const callsMax = 100

const idNames = ['tool_use_id', 'toolCallId', 'tool_call_id', 'call_id']
const toolNames = ['tool_name', 'toolName', 'tool']

/** @returns whether it is at work: what has ended, or has not begun, is stuck in nothing */
export function mayBeStuck({
  status,
  startedAt,
}: {
  readonly status: string
  readonly startedAt?: number | undefined
}): boolean {
  return startedAt !== undefined && status !== 'ended'
}

/** What one worker, or a session itself, may be stuck in. */
export class Stall {
  #calls: OpenCall[] = []
  /** What was called last, how often in a row, and since when. */
  #last: Repeated | undefined = undefined
  #stalled: Stalled | undefined = undefined

  get stalled(): Stalled | undefined {
    return this.#stalled
  }

  /** Calls that are open, the oldest first. */
  get calls(): readonly OpenCall[] {
    return this.#calls
  }

  /** A call of a tool begins or ends. */
  tool(part: ToolPart, data: JsonValue | undefined, now: number): void {
    const fields = fieldsOf(data)
    const id = wordIn(fields, idNames)
    if (part === 'result') {
      const at = id === '' ? 0 : this.#calls.findIndex((call) => call.id === id)
      if (at !== -1) this.#calls.splice(at, 1)
      return
    }
    const tool = wordIn(fields, toolNames)
    this.#calls.push({ id, tool, since: now })
    if (this.#calls.length > callsMax) this.#calls.shift()
    const call = fingerprint(fields)
    const last = this.#last?.call === call ? this.#last : { call, tool, times: 0, since: now }
    this.#last = { ...last, times: last.times + 1 }
  }

  /** @returns whether an event of it ends what it was stuck in */
  clears(): boolean {
    if (this.#stalled === undefined || this.#still(this.#stalled)) return false
    this.#stalled = undefined
    return true
  }

  #still({ why, since }: Stalled): boolean {
    switch (why) {
      case 'call':
        return this.#calls[0]?.since === since
      case 'repeat':
        return this.#last?.since === since
      case 'silence':
        return false
    }
  }

  /** It has ended, or begins anew: nothing is open. @returns whether it was stuck */
  clear(): boolean {
    const wasStalled = this.#stalled !== undefined
    this.#calls = []
    this.#last = undefined
    this.#stalled = undefined
    return wasStalled
  }

  /**
   * @param silentFrom when the last event came, where it promised to be heard of
   * @returns when it will count as stuck unless something happens; nothing where nothing makes it so
   */
  dueAt(silentFrom: number | undefined, limits: StallLimits): number | undefined {
    if (this.#stalled !== undefined) return undefined
    const { stalledCallMs, stalledSilenceMs, stalledRepeats } = limits
    if (stalledRepeats > 0 && this.#last !== undefined && this.#last.times >= stalledRepeats) return 0
    const [call] = this.#calls
    const dues = [
      ...(call !== undefined && stalledCallMs > 0 ? [call.since + stalledCallMs] : []),
      ...(silentFrom !== undefined && stalledSilenceMs > 0 ? [silentFrom + stalledSilenceMs] : []),
    ]
    return dues.length === 0 ? undefined : Math.min(...dues)
  }

  /** It is stuck. @returns in what, and with which tool */
  stall(silentFrom: number | undefined, limits: StallLimits): Stalled & { readonly tool?: string } {
    const { stalledCallMs, stalledRepeats } = limits
    const [call] = this.#calls
    const last = this.#last
    const due = this.dueAt(silentFrom, limits)
    if (stalledRepeats > 0 && last !== undefined && last.times >= stalledRepeats) {
      return this.#isStuck('repeat', last)
    }
    const isCall = call !== undefined && stalledCallMs > 0 && due === call.since + stalledCallMs
    return isCall ? this.#isStuck('call', call) : this.#isStuck('silence', { since: silentFrom ?? 0 })
  }

  #isStuck(why: StallReason, { since, tool }: { readonly since: number; readonly tool?: string }) {
    this.#stalled = { since, why }
    return { ...this.#stalled, ...(tool && { tool }) }
  }

  restore(calls: readonly OpenCall[], stalled: Stalled | undefined): void {
    this.#calls = [...calls]
    this.#stalled = stalled
  }
}

/** @returns what tells a call from others: the tool and what it is given, not the id; of long ones a digest */
function fingerprint(fields: JsonObject): string {
  const text = JSON.stringify(Object.entries(fields).filter(([name]) => !idNames.includes(name)))
  if (text.length <= 64) return text
  // FNV-1a, twice 32 bits: two calls that look alike by chance would have to come in a row, many times.
  let [low, high] = [0x811c9dc5, text.length]
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    low = Math.imul(low ^ unit, 0x01000193)
    high = Math.imul(high ^ unit, 0x01000197)
  }
  return `${text.length} ${low} ${high}`
}

function wordIn(fields: JsonObject, names: readonly string[]): string {
  for (const name of names) {
    const value = fields[name]
    if (typeof value === 'string' && value !== '') return value.slice(0, wordLengthMax)
  }
  return ''
}

const wordLengthMax = 128
