import type { WorkerRecord } from '../store/store.js'
import { type Ending, reasonText, worst } from './result.js'
import type { OwnTopic } from './topic.js'
import type { Worker } from './worker.js'

/** The workers of one session, including those that are followed and have not begun. Only their session changes them. */
export class Workers {
  readonly #byId = new Map<string, Worker>()
  #waiting = 0

  get byId(): ReadonlyMap<string, Worker> {
    return this.#byId
  }

  /** Workers that are followed and have not begun. */
  get waiting(): number {
    return this.#waiting
  }

  /** Adds a placeholder. */
  add(worker: Worker): void {
    this.#byId.set(worker.id, worker)
    this.#waiting++
  }

  /** The worker begins. */
  start(worker: Worker, now: number): void {
    worker.start(now)
    this.#waiting--
    // In the order in which workers begin, even if they were followed before: the same at all hubs of a log.
    this.#byId.delete(worker.id)
    this.#byId.set(worker.id, worker)
  }

  /** Restores a stored worker, which was a placeholder until now. */
  restore(worker: Worker, record: WorkerRecord): void {
    worker.restore(record)
    this.#waiting--
  }

  /** Removes a worker that has not begun and is not followed. */
  mayForget(id: string): void {
    const worker = this.#byId.get(id)
    if (worker === undefined || worker.startedAt !== undefined || worker.topic.followed) return
    worker.topic.release()
    this.#byId.delete(id)
    this.#waiting--
  }

  /** @returns `own`, the session's own topic, and the workers' */
  topics(own: OwnTopic): OwnTopic[] {
    const topics = [own]
    for (const { topic } of this.#byId.values()) topics.push(topic)
    return topics
  }

  /** The session has ended. @returns those that had begun */
  conclude(now: number): readonly Worker[] {
    const begun = [...this.#byId.values()].filter(({ startedAt }) => startedAt !== undefined)
    for (const worker of begun) worker.conclude(now)
    return begun
  }

  /** @returns the worst ending of the workers, as the session's own; undefined if none has ended */
  get ending(): Ending | undefined {
    const endings = [...this.#byId.values()].flatMap(({ id, progress: { ending } }) =>
      ending === undefined ? [] : [{ id, ...ending }],
    )
    const found = worst(endings)
    if (found === undefined) return undefined
    const { id, result, reason } = found
    if (result === 'succeeded') return { result }
    return { result, reason: reasonText(reason === undefined ? id : `${id}: ${reason}`) }
  }

  /** The number of unanswered questions to people. */
  get needs(): number {
    let needs = 0
    for (const { progress } of this.#byId.values()) needs += progress.needs.length
    return needs
  }

  /** The number of workers that failed or were lost. */
  get failed(): number {
    let failed = 0
    for (const { progress } of this.#byId.values()) {
      if (progress.result === 'failed' || progress.result === 'lost') failed++
    }
    return failed
  }
}
