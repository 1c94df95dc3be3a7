import type { WorkerRecord } from '../store/store.js'
import { type Ending, reasonText, worst } from './result.js'
import type { OwnTopic } from './topic.js'
import type { Worker } from './worker.js'

/** The workers of one session, those included that are followed and have not begun. Only its session changes them. */
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

  /** Takes a placeholder. */
  add(worker: Worker): void {
    this.#byId.set(worker.id, worker)
    this.#waiting++
  }

  /** The worker begins. */
  start(worker: Worker, now: number): void {
    worker.start(now)
    this.#waiting--
  }

  /** The worker, a placeholder until now, continues as the store has it. */
  restore(worker: Worker, record: WorkerRecord): void {
    worker.restore(record)
    this.#waiting--
  }

  /** A worker that is only a placeholder goes when nobody follows it. */
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

  /** @returns the worst of how the workers ended, as the session's own ending; nothing when none has said so */
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

  /** Questions to people that nobody has answered. */
  get needs(): number {
    let needs = 0
    for (const { progress } of this.#byId.values()) needs += progress.needs.length
    return needs
  }

  /** Workers that failed or were lost. */
  get failed(): number {
    let failed = 0
    for (const { progress } of this.#byId.values()) {
      if (progress.result === 'failed' || progress.result === 'lost') failed++
    }
    return failed
  }
}
