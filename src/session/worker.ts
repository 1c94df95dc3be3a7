import type { PublisherStatus } from '../catalog/traits.js'
import type { StateRoom } from '../state/room.js'
import type { WorkerRecord } from '../store/store.js'
import { Progress } from './progress.js'
import type { ShownWorker } from './reserved-slices.js'
import type { OwnTopic } from './topic.js'

/** One parallel agent inside a session. Only its session changes it. */
export class Worker {
  readonly id: string
  readonly topic: OwnTopic
  #startedAt: number | undefined = undefined
  #endedAt: number | undefined = undefined
  #status: PublisherStatus = 'running'
  #events = 0
  readonly progress: Progress
  shown: ShownWorker | undefined = undefined

  /** @param room as of `Progress` */
  constructor(id: string, topic: OwnTopic, room: Pick<StateRoom, 'add'>) {
    this.id = id
    this.topic = topic
    this.progress = new Progress(room)
  }

  /** Milliseconds since 1970; absent while it is only followed. */
  get startedAt(): number | undefined {
    return this.#startedAt
  }

  get endedAt(): number | undefined {
    return this.#endedAt
  }

  get status(): PublisherStatus {
    return this.#status
  }

  /** The number of its events. */
  get events(): number {
    return this.#events
  }

  start(now: number): void {
    this.#startedAt = now
  }

  countEvent(): void {
    this.#events++
  }

  /** Sets the status by an event, or by the end of its lease. */
  turn(status: PublisherStatus, now: number): void {
    this.#status = status
    this.#endedAt = status === 'ended' ? now : undefined
  }

  /** Its session has ended. */
  conclude(now: number): void {
    this.#status = 'ended'
    this.#endedAt ??= now
    this.progress.close()
  }

  /** Restores the stored worker. */
  restore(record: WorkerRecord): void {
    const { startedAt, endedAt, status = 'running', events } = record
    this.#startedAt = startedAt
    this.#endedAt = endedAt
    this.#status = status
    this.#events = events
    this.progress.restore(record)
  }

  /** @returns the record for the store; undefined while it is only followed */
  record(): WorkerRecord | undefined {
    const startedAt = this.#startedAt
    if (startedAt === undefined) return undefined
    const endedAt = this.#endedAt
    return {
      worker: this.id,
      startedAt,
      events: this.#events,
      status: this.#status,
      ...(endedAt !== undefined && { endedAt }),
      ...this.progress.record(),
    }
  }
}
