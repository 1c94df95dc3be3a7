import type { Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { CommandRecord } from '../store/store.js'
import { receiptIn, sentCommand } from './commands.js'
import type { Filter } from './filter.js'
import { commandName } from './journal.js'
import type { Session } from './session.js'
import type { Topic } from './topic.js'
import type { Worker } from './worker.js'

/** A command under way, and the worker that it was sent to; none for the session itself. */
export interface Underway {
  readonly worker: Worker | undefined
  readonly command: CommandRecord
}

/** The commands that were sent to a session and its workers, and the slices `$commands` that tell what became of them. */
export class Steering {
  readonly #session: Session
  readonly #ttlMs: number

  /** @param ttlMs of commands that do not say it */
  constructor(session: Session, ttlMs: number) {
    this.#session = session
    this.#ttlMs = ttlMs
  }

  /** When the first command expires. Milliseconds since 1970; nothing where none is under way */
  get dueAt(): number | undefined {
    let due: number | undefined
    for (const { progress } of this.#targets()) {
      const at = progress.sentCommands?.dueAt
      if (at !== undefined && (due === undefined || at < due)) due = at
    }
    return due
  }

  /** @param now milliseconds since 1970. @returns those that have expired by then, or all that are under way */
  expired(now = Number.POSITIVE_INFINITY): Underway[] {
    return [...this.#targets()].flatMap((target) =>
      [...(target.progress.sentCommands?.open ?? [])]
        .filter(({ expiresAt }) => expiresAt <= now)
        .map((command) => ({ worker: target === this.#session ? undefined : (target as Worker), command })),
    )
  }

  /** An event was published that is a command, or a receipt. @returns when the command expires, if it is one */
  note(entry: Entry, worker: Worker | undefined, now: number): number | undefined {
    const { event, traits, place } = entry
    const { progress, topic } = worker ?? this.#session
    const { commands } = progress
    if (traits.command === 'receipt') {
      const done = commands.done(receiptIn(event.data), place, now)
      if (done !== undefined) {
        topic.history.unpin(done.offset)
        this.#session.journal?.forget(
          commandName({ worker: worker?.id, type: done.type, offset: done.offset }),
        )
      }
    } else {
      const { type } = event
      const delivered =
        topic.audience?.names(type) === true || this.#session.all.audience?.names(type) === true
      commands.add(sentCommand(event, { offset: place, now, ttlMs: this.#ttlMs, delivered }))
    }
    this.#show(worker, now)
    return commands.dueAt
  }

  /**
   * An agent follows the topic, and was given the commands after `after`.
   *
   * @returns whether that is news of any
   */
  deliver(topic: Topic, filter: Filter, after: Offset, now: number): boolean {
    let told = false
    for (const target of this.#targets()) {
      if (topic !== this.#session.all && topic !== target.topic) continue
      const { sentCommands } = target.progress
      if (sentCommands?.deliver(after, (type) => filter.names(type)) !== true) continue
      this.#show(target === this.#session ? undefined : (target as Worker), now)
      told = true
    }
    return told
  }

  /** The session has come back from the store. @param entries what memory has of it now */
  restored(entries: readonly Entry[]): void {
    const { offset, startedAt = 0 } = this.#session
    for (const { progress, topic } of this.#targets()) {
      const commands = progress.sentCommands
      if (commands === undefined) continue
      topic.state.restore('$commands', commands.slice(), { offset, time: startedAt })
    }
    for (const { event, traits, place } of entries) {
      if (traits.command !== 'request') continue
      const { progress, topic } = this.#targetOf(event.worker)
      if (progress.sentCommands?.isOpen(place) !== true) topic.history.unpin(place)
    }
  }

  #show(worker: Worker | undefined, now: number): void {
    const { progress, topic } = worker ?? this.#session
    const value = progress.commands.slice()
    const make: Parameters<Session['change']>[0]['make'] = (state, moment) =>
      state.set('$commands', value, moment)
    this.#session.change({ topic, slice: '$commands', now, make })
    if (worker !== undefined) this.#session.journal?.workerChanged(worker)
    this.#session.journal?.recordChanged()
  }

  *#targets(): Iterable<Session | Worker> {
    yield this.#session
    yield* this.#session.workers.values()
  }

  #targetOf(worker: string | undefined): Session | Worker {
    return worker === undefined ? this.#session : (this.#session.workers.get(worker) ?? this.#session)
  }
}
