import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { Attempt, NewEvent } from '../protocol/frames.js'
import type { ProgressRecord } from '../store/store.js'
import { Commands } from './commands.js'
import { type Facts, keyOf } from './hub-event.js'
import { Needs, needsFields, needText } from './needs.js'
import { type Ending, type Outcome, type Turn, turnOf } from './result.js'
import { Stall, type Stalled, type StallLimits } from './stall.js'

/** How exact `lastAt` is: each change of it is told to those who watch the slices. */
const lastAtStepMs = 5_000

/** Steps of which the newest attempt is remembered; the one begun longest ago is forgotten. */
const stepsMax = 1_000

/** What a model took and gave, added up. */
export type Usage = {
  readonly input_tokens?: number
  readonly output_tokens?: number
  readonly cached_tokens?: number
  readonly cost_usd?: number
}

const usageNames = ['input_tokens', 'output_tokens', 'cached_tokens', 'cost_usd'] as const

/** Where a run is among the offsets: from the event that it began with to the one that ended it. */
export interface Run {
  readonly from: Offset
  /** Absent while it is under way. */
  readonly until?: Offset
}

/** What became of a worker, or of a session by its own events: how it ended, what it asks, what it took. */
export class Progress {
  #ending: Ending | undefined = undefined
  #needs: Needs | undefined = undefined
  #usage: Usage | undefined = undefined
  #parent: string | undefined = undefined
  #run: Run | undefined = undefined
  #paused = false
  #commands: Commands | undefined = undefined
  #stall: Stall | undefined = undefined
  /** The newest attempt at each step, the step begun longest ago first. */
  #attempts: Map<string, number> | undefined = undefined
  #lastAt = 0
  #heardAt = 0

  get ending(): Ending | undefined {
    return this.#ending
  }

  get result(): Outcome | undefined {
    return this.#ending?.result
  }

  get needs(): Needs['open'] {
    return this.#needs?.open ?? []
  }

  /** The newest run; absent where none ever said that it began. */
  get run(): Run | undefined {
    return this.#run
  }

  /** When it was last heard of, in steps of five seconds. Milliseconds since 1970; 0 before. */
  get lastAt(): number {
    return this.#lastAt
  }

  /** When it was last heard of. Milliseconds since 1970; 0 since it came back into memory. */
  get heardAt(): number {
    return this.#heardAt
  }

  /** Those that were sent to its topic. */
  get commands(): Commands {
    this.#commands ??= new Commands()
    return this.#commands
  }

  /** As `commands`; nothing where none was ever sent. */
  get sentCommands(): Commands | undefined {
    return this.#commands
  }

  get stalled(): Stalled | undefined {
    return this.#stall?.stalled
  }

  /**
   * @param silentFrom when the last event came, where it promised to be heard of
   * @returns when it will count as stuck unless something happens; nothing where nothing makes it so
   */
  stallDueAt(silentFrom: number | undefined, limits: StallLimits): number | undefined {
    if (silentFrom !== undefined) this.#stall ??= new Stall()
    return this.#stall?.dueAt(silentFrom, limits)
  }

  /** It is stuck. @returns in what, and with which tool */
  stall(silentFrom: number | undefined, limits: StallLimits): ReturnType<Stall['stall']> {
    this.#stall ??= new Stall()
    return this.#stall.stall(silentFrom, limits)
  }

  /** @returns the newest attempt at the step; nothing where there was none */
  attemptAt(step: string): number | undefined {
    return this.#attempts?.get(step)
  }

  /** An attempt has begun that is newer than all before. */
  beginAttempt({ step, number }: Attempt): void {
    this.#attempts ??= new Map()
    this.#attempts.delete(step)
    this.#attempts.set(step, number)
    if (this.#attempts.size <= stepsMax) return
    for (const oldest of this.#attempts.keys()) {
      this.#attempts.delete(oldest)
      return
    }
  }

  /**
   * Takes what an event says of who published it.
   *
   * @returns what the event makes of its publisher; `noted` where it says something else that the slices show;
   *   nothing where they show nothing of it
   */
  note(event: NewEvent, offset: Offset, facts: Facts): Turn | 'noted' | undefined {
    const { traits, now } = facts
    const { asks, answers } = traits
    let changed = false
    if (asks !== undefined) {
      const key = keyOf(event, traits) ?? String(offset)
      const need = { kind: asks, key, offset, time: event.time ?? now, text: needText(event.data) }
      this.#needs ??= new Needs()
      changed = this.#needs.ask(need)
    }
    if (answers !== undefined) changed = this.answer(answers, keyOf(event, traits)) || changed
    if (traits.usage === true) changed = this.#count(event.data) || changed
    if (traits.tool !== undefined) (this.#stall ??= new Stall()).tool(traits.tool, event.data, now)
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

  /** Going on after a pause, or saying once more that one runs, begins nothing. */
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
    return this.#needs?.answer(kind, key) ?? false
  }

  /** @returns whether the time that the slices say has changed */
  heard(now: number): boolean {
    this.#heardAt = now
    if (now - this.#lastAt < lastAtStepMs && now >= this.#lastAt) return false
    this.#lastAt = now
    return true
  }

  /** It ends by what somebody else says of it. */
  end(ending: Ending, offset?: Offset): void {
    this.#ending = ending
    if (offset !== undefined) this.#runEnded(offset)
    this.close()
  }

  /** Nothing is open any more. */
  close(): void {
    this.#needs?.clear()
    this.#stall?.clear()
  }

  /** It is heard of again after it was lost. @returns whether it had been */
  revive(): boolean {
    if (this.#ending?.result !== 'lost') return false
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

  /** What the slices say. */
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

  /** What the store keeps of it. */
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

  restore(record: ProgressRecord): void {
    const { result, reason, parent, lastAt = 0, needs = [], usage, run, paused } = record
    const { commands = [], attempts = [], calls = [], stalled } = record
    this.#run = run
    this.#paused = paused === true
    this.#ending = result === undefined ? undefined : { result, ...(reason !== undefined && { reason }) }
    this.#parent = parent
    this.#lastAt = lastAt
    this.#usage = usage
    if (needs.length > 0) (this.#needs ??= new Needs()).restore(needs)
    if (commands.length > 0) this.commands.restore(commands)
    if (attempts.length > 0) this.#attempts = new Map(attempts)
    if (calls.length > 0 || stalled !== undefined) (this.#stall ??= new Stall()).restore(calls, stalled)
  }
}

/** @returns the sum of what several took; nothing where none took anything */
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

/** Sums of fractions have no more digits than their parts: a millionth of a cent. */
function rounded(value: number): number {
  return Math.round(value * 1e8) / 1e8
}

function parentIn(data: JsonValue | undefined): string | undefined {
  const { parent } = fieldsOf(data)
  return typeof parent === 'string' ? parent : undefined
}
