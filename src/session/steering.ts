import type { Entry } from '../history/entry.js'
import type { Clock } from '../lib/clock.js'
import type { Offset } from '../protocol/cursor.js'
import type { CommandRecord } from '../store/store.js'
import { type CommandCounts, type FinalState, receiptIn, sentCommand } from './commands.js'
import type { Filter } from './filter.js'
import { commandName, type Journal } from './journal.js'
import type { NoticeFacts } from './notice.js'
import type { Progress } from './progress.js'
import type { Intent } from './session-setting.js'
import type { AllTopic, OwnTopic, Topic } from './topic.js'
import type { Worker } from './worker.js'

/** A command without a final state, and its worker; none for the session itself. */
export interface Underway {
  readonly worker: Worker | undefined
  readonly command: CommandRecord
}

/** The part of a session that steering needs. */
interface Steered {
  readonly offset: Offset
  readonly startedAt: number | undefined
  readonly topic: OwnTopic
  readonly all: AllTopic
  readonly progress: Progress
  readonly workers: ReadonlyMap<string, Worker>
  readonly journal: Journal | undefined
  readonly publishers: { notify(worker: Worker | undefined, facts: NoticeFacts): void }
  change(intent: Intent): unknown
}

export interface SteeringOptions {
  /** Of commands that do not say it. */
  readonly ttlMs: number
  readonly counts: CommandCounts
  /** Does not believe a wall clock that is set ahead. */
  readonly clock: Clock
  /** Present if several hubs follow the session: reports to all of them which commands a follower here has got. */
  readonly delivered: ((worker: string | undefined, commands: readonly Offset[]) => void) | undefined
}

/** The commands to a session and its workers, and the slices `$commands` with their states. */
export class Steering {
  readonly #session: Steered
  readonly #ttlMs: number
  readonly #counts: CommandCounts
  readonly #clock: Clock
  readonly #delivered: SteeringOptions['delivered']
  /** When each open command expires, on the monotonic clock. */
  #due = new Map<Offset, number>()

  constructor(session: Steered, { ttlMs, counts, clock, delivered }: SteeringOptions) {
    this.#session = session
    this.#ttlMs = ttlMs
    this.#counts = counts
    this.#clock = clock
    this.#delivered = delivered
  }

  /** When the first command expires. Milliseconds since 1970; undefined if none is open. */
  get dueAt(): number | undefined {
    let due: number | undefined
    for (const { progress } of this.#targets()) {
      const at = progress.sentCommands?.dueAt
      if (at !== undefined && (due === undefined || at < due)) due = at
    }
    return due
  }

  /** @returns the commands without a final state */
  open(): Underway[] {
    return [...this.#targets()].flatMap((target) =>
      [...(target.progress.sentCommands?.open ?? [])].map((command) => ({
        worker: target === this.#session ? undefined : (target as Worker),
        command,
      })),
    )
  }

  /** @returns the open commands that have expired, and the milliseconds after which the first of the others does, if any */
  look(): { readonly expired: readonly Underway[]; readonly nextMs: number | undefined } {
    const at = this.#clock.elapsed()
    const expired: Underway[] = []
    const due = new Map<Offset, number>()
    let nextMs: number | undefined
    for (const underway of this.open()) {
      const dueAt = this.#dueOf(underway.command)
      due.set(underway.command.offset, dueAt)
      if (dueAt <= at) expired.push(underway)
      else nextMs = Math.min(nextMs ?? Number.POSITIVE_INFINITY, Math.ceil(dueAt - at))
    }
    this.#due = due
    return { expired, nextMs }
  }

  /** A command has at most its whole time left, and less if it was sent in an earlier run of the hub. */
  #dueOf({ offset, time, expiresAt }: CommandRecord): number {
    let due = this.#due.get(offset)
    if (due === undefined) {
      const leftMs = Math.max(0, Math.min(expiresAt - time, expiresAt - this.#clock.now()))
      this.#due.set(offset, (due = this.#clock.elapsed() + leftMs))
    }
    return due
  }

  /** A person has answered. An answer to a session may be for any of its workers. @returns whether there was such a question */
  answer({ event, traits }: Entry, worker: Worker | undefined): boolean {
    const { answers } = traits
    if (answers === undefined) return false
    const asked = worker === undefined ? [...this.#targets()] : [worker]
    const found = asked.find(({ progress }) => progress.answer(answers, event.key))
    if (found !== undefined && found !== this.#session) this.#session.journal?.workerChanged(found as Worker)
    return found !== undefined
  }

  /** A command or a receipt was published. @returns when the first open command expires */
  note(entry: Entry, worker: Worker | undefined, now: number): number | undefined {
    const { event, traits, offset } = entry
    const { progress, topic } = worker ?? this.#session
    const { commands } = progress
    if (traits.command === 'receipt') {
      const done = commands.done(receiptIn(event.data), offset, now)
      if (done !== undefined) {
        this.#due.delete(done.offset)
        this.#counts[done.state as FinalState]++
        topic.history.unpin(done.offset)
        this.#session.journal?.forget(
          commandName({ worker: worker?.id, type: done.type, offset: done.offset }),
        )
      }
    } else {
      const { type } = event
      const isFollowed =
        topic.audience?.names(type) === true || this.#session.all.audience?.names(type) === true
      const delivered = isFollowed && this.#delivered === undefined
      if (isFollowed) this.#delivered?.(worker?.id, [offset])
      this.#counts.sent++
      if (delivered) this.#counts.delivered++
      const sent = sentCommand(event, { offset, now, ttlMs: this.#ttlMs, delivered })
      commands.add(sent)
      this.#dueOf(sent)
      if (!delivered) this.#session.publishers.notify(worker, noticeOf(sent))
    }
    this.#show(worker, now)
    return commands.dueAt
  }

  /**
   * An agent has joined the topic, and got the commands after `after`.
   *
   * @returns whether the state of any command has changed
   */
  deliver(topic: Topic, filter: Filter, after: Offset, now: number): boolean {
    let changed = false
    for (const target of this.#targets()) {
      if (topic !== this.#session.all && topic !== target.topic) continue
      const { sentCommands } = target.progress
      if (sentCommands === undefined) continue
      const asksFor = (type: string) => filter.names(type)
      if (this.#delivered !== undefined) {
        const waiting = sentCommands.waiting(after, asksFor)
        if (waiting.length > 0)
          this.#delivered(target === this.#session ? undefined : (target as Worker).id, waiting)
        continue
      }
      const delivered = sentCommands.deliver(after, asksFor)
      if (delivered === 0) continue
      this.#counts.delivered += delivered
      this.#show(target === this.#session ? undefined : (target as Worker), now)
      changed = true
    }
    return changed
  }

  /** As `deliver`, at every hub that follows the session. */
  deliverThese(commands: readonly Offset[], worker: Worker | undefined, now: number): void {
    const delivered = (worker ?? this.#session).progress.commands.deliverThese(commands)
    if (delivered === 0) return
    this.#counts.delivered += delivered
    this.#show(worker, now)
  }

  /** The session was loaded from the store. @param entries its events in memory */
  restored(entries: readonly Entry[]): void {
    const { offset, startedAt = 0 } = this.#session
    for (const { progress, topic } of this.#targets()) {
      const commands = progress.sentCommands
      // A log has kept the slice itself, as all hubs have it.
      if (commands === undefined || topic.state.get('$commands') !== undefined) continue
      topic.state.restore('$commands', commands.slice(), { offset, time: startedAt })
    }
    for (const { event, traits, offset } of entries) {
      if (traits.command !== 'request') continue
      const { progress, topic } = this.#targetOf(event.worker)
      if (progress.sentCommands?.isOpen(offset) !== true) topic.history.unpin(offset)
    }
  }

  #show(worker: Worker | undefined, now: number): void {
    const { progress, topic } = worker ?? this.#session
    const value = progress.commands.slice()
    const make: Intent['make'] = (state, moment) => state.set('$commands', value, moment)
    this.#session.change({ topic, slice: '$commands', now, make })
    if (worker !== undefined) this.#session.journal?.workerChanged(worker)
    this.#session.journal?.recordChanged()
  }

  *#targets(): Iterable<Steered | Worker> {
    yield this.#session
    yield* this.#session.workers.values()
  }

  #targetOf(worker: string | undefined): Steered | Worker {
    return worker === undefined ? this.#session : (this.#session.workers.get(worker) ?? this.#session)
  }
}

/** @returns the notice of a command that nobody follows */
function noticeOf({ type, offset, time, id, text, expiresAt }: CommandRecord): NoticeFacts {
  const command = { ...(id !== undefined && { id }), ...(text !== undefined && { text }), expiresAt }
  return { kind: 'command', type, offset, time, command }
}
