import type { ToolPart } from '../catalog/traits.js'
import { type Clock, elapsedAt } from '../lib/clock.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'

/** The reason of a stall: a call is open for long, the same call is repeated, or nothing is published. */
export type StallReason = 'call' | 'repeat' | 'silence'

export type Stalled = {
  /** When the stall began. Milliseconds since 1970. */
  readonly since: number
  readonly why: StallReason
}

/** An open tool call. */
export interface OpenCall {
  readonly id: string
  readonly tool: string
  /** Milliseconds since 1970. */
  readonly since: number
}

/** An open call, and when this hub heard of it on its monotonic clock; absent if that was in an earlier run. */
interface HeldCall extends OpenCall {
  heard?: number | undefined
}

/** A last sign of life. */
export interface Heard {
  /** Milliseconds since 1970. */
  readonly at: number
  /** The same on the monotonic clock of this hub, which a wall clock that is set does not change. */
  readonly elapsed: number
}

/** A call that was repeated. */
interface Repeated {
  readonly call: string
  readonly tool: string
  readonly times: number
  readonly since: number
}

/** Thresholds of a stall; 0: never. */
export interface StallLimits {
  readonly stalledCallMs: number
  readonly stalledSilenceMs: number
  readonly stalledRepeats: number
}

/** Maximum of open calls of a worker; the oldest is forgotten. */
const callsMax = 100

const idNames = ['tool_use_id', 'toolCallId', 'tool_call_id', 'call_id']
const toolNames = ['tool_name', 'toolName', 'tool']

/** @returns whether it is running: a worker that has not begun or has ended cannot stall */
export function mayBeStuck({
  status,
  startedAt,
}: {
  readonly status: string
  readonly startedAt?: number | undefined
}): boolean {
  return startedAt !== undefined && status !== 'ended'
}

/** Detects stalls of one worker, or of a session itself. */
export class Stall {
  #calls: HeldCall[] = []
  /** The last call, how often it was repeated, and since when. */
  #last: Repeated | undefined = undefined
  #stalled: Stalled | undefined = undefined

  get stalled(): Stalled | undefined {
    return this.#stalled
  }

  /** The open calls, the oldest first. */
  get calls(): readonly OpenCall[] {
    return this.#calls.map(({ id, tool, since }) => ({ id, tool, since }))
  }

  /** A tool call begins or ends. @param heard on the monotonic clock of this hub; absent if it was in an earlier run */
  tool(part: ToolPart, data: JsonValue | undefined, now: number, heard?: number): void {
    const fields = fieldsOf(data)
    const id = wordIn(fields, idNames)
    if (part === 'result') {
      const at = id === '' ? 0 : this.#calls.findIndex((call) => call.id === id)
      if (at !== -1) this.#calls.splice(at, 1)
      return
    }
    const tool = wordIn(fields, toolNames)
    this.#calls.push({ id, tool, since: now, heard })
    if (this.#calls.length > callsMax) this.#calls.shift()
    const call = fingerprint(fields)
    const last = this.#last?.call === call ? this.#last : { call, tool, times: 0, since: now }
    this.#last = { ...last, times: last.times + 1 }
  }

  /** @returns whether the last event ended the stall */
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

  /** It has ended, or begins again: nothing is open. @returns whether it was stalled */
  clear(): boolean {
    const wasStalled = this.#stalled !== undefined
    this.#calls = []
    this.#last = undefined
    this.#stalled = undefined
    return wasStalled
  }

  /**
   * @param silent since its last event, if it has a lease
   * @param clock does not believe a wall clock that is set ahead
   * @returns how long until it counts as stalled unless something happens; undefined if nothing can make it so. Milliseconds
   */
  leftMs(silent: Heard | undefined, limits: StallLimits, clock: Clock): number | undefined {
    if (this.#stalled !== undefined) return undefined
    if (this.#isRepeating(limits)) return 0
    const left = Math.min(this.#callLeftMs(limits, clock), silenceLeftMs(silent, limits, clock))
    return left === Number.POSITIVE_INFINITY ? undefined : left
  }

  /** @returns why it has stalled, if it has, and the tool */
  stuckIn(
    silent: Heard | undefined,
    limits: StallLimits,
    clock: Clock,
  ): Stalled & { readonly tool?: string } {
    const [call] = this.#calls
    if (this.#last !== undefined && this.#isRepeating(limits)) return stuck('repeat', this.#last)
    const isCall =
      call !== undefined && this.#callLeftMs(limits, clock) <= silenceLeftMs(silent, limits, clock)
    return isCall ? stuck('call', call) : stuck('silence', { since: silent?.at ?? 0 })
  }

  #isRepeating({ stalledRepeats }: StallLimits): boolean {
    return stalledRepeats > 0 && this.#last !== undefined && this.#last.times >= stalledRepeats
  }

  /** @returns infinity if no call can make it stalled */
  #callLeftMs({ stalledCallMs }: StallLimits, clock: Clock): number {
    const [call] = this.#calls
    if (call === undefined || stalledCallMs === 0) return Number.POSITIVE_INFINITY
    call.heard ??= elapsedAt(clock, call.since)
    return leftOf(stalledCallMs, call.heard, clock)
  }

  /** It is stuck. */
  stall({ since, why }: Stalled): void {
    this.#stalled = { since, why }
  }

  restore(calls: readonly OpenCall[], stalled: Stalled | undefined): void {
    this.#calls = calls.map((call) => ({ ...call }))
    this.#stalled = stalled
  }
}

/** @returns infinity if silence cannot make it stalled */
function silenceLeftMs(silent: Heard | undefined, { stalledSilenceMs }: StallLimits, clock: Clock): number {
  if (silent === undefined || stalledSilenceMs === 0) return Number.POSITIVE_INFINITY
  return leftOf(stalledSilenceMs, silent.elapsed, clock)
}

function leftOf(ms: number, since: number, clock: Clock): number {
  return Math.max(0, ms - (clock.elapsed() - since))
}

function stuck(why: StallReason, { since, tool }: { readonly since: number; readonly tool?: string }) {
  return { since, why, ...(tool && { tool }) }
}

/** @returns an identification of a call: its tool and input, without the id; a digest if it is long */
function fingerprint(fields: JsonObject): string {
  const text = JSON.stringify(Object.entries(fields).filter(([name]) => !idNames.includes(name)))
  if (text.length <= 64) return text
  // FNV-1a, twice 32 bits: for a wrong result, several colliding calls would have to come in a row.
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
