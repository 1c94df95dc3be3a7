import type { Clock } from '../lib/clock.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Attempt, NewEvent } from '../protocol/frames.js'
import type { StateRoom } from '../state/room.js'
import type { ProgressRecord } from '../store/store.js'
import { Commands } from './commands.js'
import { type Facts, keyOf } from './hub-event.js'
import { Needs, needsFields, needText } from './needs.js'
import { type Ending, type Outcome, type Turn, turnOf } from './result.js'
import { type Heard, Stall, type Stalled, type StallLimits } from './stall.js'

/** The resolution of `lastAt`, because each change of it is sent to the followers of the slices. */
const lastAtStepMs = 5_000

/** Maximum of steps whose newest attempt is remembered; the oldest step is forgotten. */
const stepsMax = 1_000

/** About what a step takes beside its name. Bytes. */
export const stepBytes = 96

/** Sums of the token counts of models. */
export type Usage = {
  readonly input_tokens?: number
  readonly output_tokens?: number
  readonly cached_tokens?: number
  readonly cost_usd?: number
}

const usageNames = ['input_tokens', 'output_tokens', 'cached_tokens', 'cost_usd'] as const

/** The range of offsets of a run: from its first event to the one that ended it. */
export interface Run {
  readonly from: Offset
  /** Absent while it is active. */
  readonly until?: Offset
}

/** The progress of a worker, or of a session by its own events: its result, needs, and usage. */
export class Progress {
  #ending: Ending | undefined = undefined
  #needs: Needs | undefined = undefined
  #usage: Usage | undefined = undefined
  #parent: string | undefined = undefined
  #run: Run | undefined = undefined
  #paused = false
  #commands: Commands | undefined = undefined
  #stall: Stall | undefined = undefined
  /** The newest attempt at each step, the oldest step first. */
  #attempts: Map<string, number> | undefined = undefined
  #lastAt = 0
  #heardAt = 0
  /** Another one whenever `fields` may say something else. */
  version = 0
  #heardOffset = start
  readonly #room: Pick<StateRoom, 'add'>

  /** @param room counts what it keeps, as long as its session is in memory */
  constructor(room: Pick<StateRoom, 'add'>) {
    this.#room = room
  }

  get ending(): Ending | undefined {
    return this.#ending
  }

  get result(): Outcome | undefined {
    return this.#ending?.result
  }

  get needs(): Needs['open'] {
    return this.#needs?.open ?? []
  }

  /** The newest run; absent if no event has begun one. */
  get run(): Run | undefined {
    return this.#run
  }

  /** The time of the last sign of life, in steps of five seconds. Milliseconds since 1970; 0 before the first. */
  get lastAt(): number {
    return this.#lastAt
  }

  /** The time of the last sign of life. Milliseconds since 1970; 0 after it was loaded into memory. */
  get heardAt(): number {
    return this.#heardAt
  }

  /** Where it was last heard of. */
  get heardOffset(): Offset {
    return this.#heardOffset
  }

  /** The commands to its topic. */
  get commands(): Commands {
    this.#commands ??= new Commands()
    return this.#commands
  }

  /** Like `commands`; undefined if none was ever sent. */
  get sentCommands(): Commands | undefined {
    return this.#commands
  }

  get stalled(): Stalled | undefined {
    return this.#stall?.stalled
  }

  /** As `Stall.leftMs`. */
  stallLeftMs(silent: Heard | undefined, limits: StallLimits, clock: Clock): number | undefined {
    if (silent !== undefined) this.#stall ??= new Stall()
    return this.#stall?.leftMs(silent, limits, clock)
  }

  /** @returns why it has stalled, if it has, and the tool */
  stuckIn(silent: Heard | undefined, limits: StallLimits, clock: Clock): ReturnType<Stall['stuckIn']> {
    this.#stall ??= new Stall()
    return this.#stall.stuckIn(silent, limits, clock)
  }

  /** It is stuck. */
  stall(stalled: Stalled): void {
    this.version++
    this.#stall ??= new Stall()
    this.#stall.stall(stalled)
  }

  /** @returns the newest attempt at the step; undefined if there was none */
  attemptAt(step: string): number | undefined {
    return this.#attempts?.get(step)
  }

  /** An attempt has begun that is newer than all earlier ones. */
  beginAttempt({ step, number }: Attempt): void {
    this.#attempts ??= new Map()
    if (!this.#attempts.delete(step)) this.#room.add(step.length + stepBytes)
    this.#attempts.set(step, number)
    if (this.#attempts.size <= stepsMax) return
    for (const oldest of this.#attempts.keys()) {
      this.#attempts.delete(oldest)
      this.#room.add(-oldest.length - stepBytes)
      return
    }
  }

  /**
   * Updates the progress by an event of the same publisher.
   *
   * @param heard when this hub heard of a call of a tool, on its monotonic clock
   * @returns the change of the publisher's status; `noted` if the slices change in another way; undefined if they do not change
   */
  note(event: NewEvent, offset: Offset, facts: Facts, heard?: number): Turn | 'noted' | undefined {
    this.version++
    const { traits, now } = facts
    const { asks, answers } = traits
    let changed = false
    if (asks !== undefined) {
      const key = keyOf(event, traits) ?? String(offset)
      const need = { kind: asks, key, offset, time: event.time ?? now, text: needText(event.data) }
      this.#needs ??= new Needs(this.#room)
      changed = this.#needs.ask(need)
    }
    if (answers !== undefined) changed = this.answer(answers, keyOf(event, traits)) || changed
    if (traits.usage === true) changed = this.#count(event.data) || changed
    if (traits.tool !== undefined) (this.#stall ??= new Stall()).tool(traits.tool, event.data, now, heard)
    if (this.#stall?.clears() === true) changed = true
    const found =
      traits.status === undefined && traits.ends === undefined ? undefined : turnOf(traits, event.data)
    if (found !== undefined) {
      this.#turn(found, event.data)
      this.#note(found, offset, traits)
      return found
    }
    return changed ? 'noted' : undefined
  }

  /** Resuming after a pause, or repeating that it runs, does not begin a run. */
  #note({ status }: Turn, offset: Offset, { ends }: Facts['traits']): void {
    const isActive = this.#run !== undefined && this.#run.until === undefined
    const goesOn = isActive && (this.#paused || ends !== undefined)
    if (status === 'running' && !goesOn) this.#run = { from: offset }
    if (status === 'ended') this.#runEnded(offset)
    this.#paused = status === 'paused'
  }

  #runEnded(until: Offset): void {
    if (this.#run !== undefined && this.#run.until === undefined) this.#run = { ...this.#run, until }
  }

  /** @returns whether there was such a question */
  answer(kind: Parameters<Needs['answer']>[0], key: string | undefined): boolean {
    this.version++
    return this.#needs?.answer(kind, key) ?? false
  }

  /** It was heard of, whatever it said. */
  heardAgain(offset: Offset): void {
    this.#heardOffset = offset
  }

  /** @returns whether `lastAt` in the slices has changed */
  heard(now: number, offset: Offset): boolean {
    this.#heardAt = now
    this.#heardOffset = offset
    if (now - this.#lastAt < lastAtStepMs && now >= this.#lastAt) return false
    this.#lastAt = now
    this.version++
    return true
  }

  /** It ends by an event of another publisher, or of the hub. */
  end(ending: Ending, offset?: Offset): void {
    this.version++
    this.#ending = ending
    if (offset !== undefined) this.#runEnded(offset)
    this.close()
  }

  /** Closes all open needs and calls. */
  close(): void {
    this.version++
    this.#needs?.clear()
    this.#stall?.clear()
  }

  /** It has published again after it was lost. @returns whether it had been lost */
  revive(): boolean {
    if (this.#ending?.result !== 'lost') return false
    this.version++
    this.#ending = undefined
    if (this.#run !== undefined) this.#run = { from: this.#run.from }
    return true
  }

  #turn({ status, ending }: Turn, data: JsonValue | undefined): void {
    if (status === 'running') {
      this.#ending = undefined
      this.#stall?.clear()
      const parent = parentIn(data)
      if (parent !== undefined) this.#parent = parent
    }
    if (status === 'ended') {
      this.#ending = ending ?? this.#ending
      this.close()
    }
  }

  #count(data: JsonValue | undefined): boolean {
    if (typeof data !== 'object' || data === null) return false
    const fields = data as JsonObject
    const sum: Record<string, number> = { ...this.#usage }
    let counted = false
    for (const name of usageNames) {
      const value = fields[name]
      if (typeof value !== 'number' || !(value > 0)) continue
      sum[name] = name === 'cost_usd' ? rounded((sum[name] ?? 0) + value) : (sum[name] ?? 0) + value
      counted = true
    }
    if (counted) this.#usage = sum
    return counted
  }

  /** The fields for the slices. */
  fields(): JsonObject {
    return {
      ...(this.#ending !== undefined && { result: this.#ending.result }),
      ...(this.#ending?.reason !== undefined && { reason: this.#ending.reason }),
      ...(this.#parent !== undefined && { parent: this.#parent }),
      ...(this.#lastAt > 0 && { lastAt: this.#lastAt }),
      ...needsFields(this.needs),
      ...(this.stalled !== undefined && { stalled: this.stalled }),
      ...(this.#usage !== undefined && { usage: this.#usage }),
    }
  }

  get usage(): Usage | undefined {
    return this.#usage
  }

  /** The record for the store. */
  record(): ProgressRecord {
    return {
      ...(this.#ending !== undefined && { result: this.#ending.result }),
      ...(this.#ending?.reason !== undefined && { reason: this.#ending.reason }),
      ...(this.#parent !== undefined && { parent: this.#parent }),
      ...(this.#lastAt > 0 && { lastAt: this.#lastAt }),
      ...(this.needs.length > 0 && { needs: this.needs }),
      ...(this.#commands !== undefined && { commands: this.#commands.record() }),
      ...(this.#attempts !== undefined && { attempts: [...this.#attempts] }),
      ...(this.#stall !== undefined && this.#stall.calls.length > 0 && { calls: this.#stall.calls }),
      ...(this.stalled !== undefined && { stalled: this.stalled }),
      ...(this.#usage !== undefined && { usage: this.#usage }),
      ...(this.#run !== undefined && { run: this.#run }),
      ...(this.#paused && { paused: true }),
    }
  }

  /** Puts other texts in the place of those that it has from events. @returns whether any is another one */
  replaceTexts(change: (text: string) => string): boolean {
    const ending = this.#ending
    if (ending?.reason !== undefined) this.#ending = { ...ending, reason: change(ending.reason) }
    const others = [this.#needs?.replaceTexts(change), this.#commands?.replaceTexts(change)]
    this.version++
    return this.#ending?.reason !== ending?.reason || others.includes(true)
  }

  restore(record: ProgressRecord): void {
    this.version++
    const { result, reason, parent, lastAt = 0, needs = [], usage, run, paused } = record
    const { commands = [], attempts = [], calls = [], stalled } = record
    this.#run = run
    this.#paused = paused === true
    this.#ending = result === undefined ? undefined : { result, ...(reason !== undefined && { reason }) }
    this.#parent = parent
    this.#lastAt = lastAt
    this.#usage = usage
    if (needs.length > 0) (this.#needs ??= new Needs(this.#room)).restore(needs)
    if (commands.length > 0) this.commands.restore(commands)
    if (attempts.length > 0) this.#attempts = new Map(attempts)
    for (const [step] of attempts) this.#room.add(step.length + stepBytes)
    if (calls.length > 0 || stalled !== undefined) (this.#stall ??= new Stall()).restore(calls, stalled)
  }
}

/** @returns the sum of several usages; undefined if there are none */
export function sumOf(usages: Iterable<Usage | undefined>): Usage | undefined {
  let sum: Record<string, number> | undefined
  for (const usage of usages) {
    if (usage === undefined) continue
    sum ??= {}
    for (const [name, value] of Object.entries(usage)) sum[name] = (sum[name] ?? 0) + value
  }
  if (sum?.['cost_usd'] !== undefined) sum['cost_usd'] = rounded(sum['cost_usd'])
  return sum
}

/** Rounds sums of fractions to a millionth of a cent. */
function rounded(value: number): number {
  return Math.round(value * 1e8) / 1e8
}

function parentIn(data: JsonValue | undefined): string | undefined {
  const { parent } = fieldsOf(data)
  return typeof parent === 'string' ? parent : undefined
}
