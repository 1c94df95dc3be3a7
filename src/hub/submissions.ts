import type { JsonObject, JsonValue } from '../lib/json.js'
import { checkEventList, checkId } from '../protocol/check.js'
import type { Mode, NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import type { TopicName } from '../protocol/topic.js'
import type { StateOptions, StateResult } from '../session/precondition.js'
import type { EndOptions } from '../session/session-setting.js'
import type { Leases } from '../sessions/due/leases.js'
import type { Submitting } from '../sessions/log/submitting.js'
import type { Publisher, PublishResult } from '../sessions/publishing.js'
import type { GivenSecret } from '../sessions/secrets.js'
import { leasedTopicOf, ownTopicOf } from './own-topic.js'
import { makerOf, type StateChange } from './state-change.js'

/** What a hub does at once, without waiting for a store. */
interface SynchronousHub {
  readonly limits: Limits
  publishTo(
    session: string,
    publisher: Publisher,
    events: readonly NewEvent[],
    isPlain?: boolean,
  ): PublishResult
  changeState(
    topic: string | TopicName,
    slice: string,
    change: StateChange,
    options: StateOptions,
  ): StateResult
  createSession(id: string, changed: { mode?: Mode; metadata?: JsonObject }): boolean
  registerSecrets(id: string, values: readonly GivenSecret[]): void
  endSession(id: string, outcome: JsonValue | undefined, ending: Omit<EndOptions, 'outcome'>): void
  lease(topic: string | TopicName, ms: number, holder: object | undefined): void
  committed(id: string): Promise<void>
}

export interface SubmissionsOptions {
  /** Whether there is a store. */
  readonly isStored: boolean
  readonly leases: Leases
  /** Present if a log assigns the offsets. */
  readonly submitting: Submitting | undefined
}

/** What producers submit: it is answered once it is in the log or, without one, done and stored. */
export class Submissions {
  readonly #hub: SynchronousHub
  readonly #isStored: boolean
  readonly #leases: Leases
  readonly #submitting: Submitting | undefined

  constructor(hub: SynchronousHub, { isStored, leases, submitting }: SubmissionsOptions) {
    this.#hub = hub
    this.#isStored = isStored
    this.#leases = leases
    this.#submitting = submitting
  }

  publish(topic: string | TopicName, events: readonly NewEvent[], isPlain = false): Promise<PublishResult> {
    try {
      const { session, worker } = ownTopicOf(topic, 'publish.topic', this.#hub.limits)
      checkEventList(events, this.#hub.limits)
      return this.publishTo(session, worker, events, isPlain)
    } catch (error) {
      return rejected(error)
    }
  }

  /** No async function: where nothing is stored, the answer is there at once, and costs one promise. */
  publishTo(
    session: string,
    publisher: Publisher,
    events: readonly NewEvent[],
    isPlain = false,
  ): Promise<PublishResult> {
    if (this.#submitting !== undefined) return this.#submitting.publish(session, publisher, events)
    try {
      const result = this.#hub.publishTo(session, publisher, events, isPlain)
      return this.#isStored ? this.#hub.committed(session).then(() => result) : Promise.resolve(result)
    } catch (error) {
      return rejected(error)
    }
  }

  async state(
    topic: string | TopicName,
    slice: string,
    change: StateChange,
    options: StateOptions,
  ): Promise<StateResult> {
    if (this.#submitting !== undefined)
      return this.#submitting.change(topic, slice, options, makerOf(slice, change))
    const result = this.#hub.changeState(topic, slice, change, options)
    await this.#hub.committed(ownTopicOf(topic, 'topic', this.#hub.limits).session)
    return result
  }

  async session(id: string, changed: { mode?: Mode; metadata?: JsonObject }): Promise<boolean> {
    checkId(id, this.#hub.limits, 'session')
    if (this.#submitting !== undefined) return this.#submitting.configure(id, changed)
    const isNew = this.#hub.createSession(id, changed)
    await this.#hub.committed(id)
    return isNew
  }

  async secrets(id: string, values: readonly GivenSecret[]): Promise<void> {
    checkId(id, this.#hub.limits, 'session')
    if (this.#submitting !== undefined) return this.#submitting.registerSecrets(id, values)
    this.#hub.registerSecrets(id, values)
    await this.#hub.committed(id)
  }

  async end(id: string, outcome: JsonValue | undefined, ending: Omit<EndOptions, 'outcome'>): Promise<void> {
    checkId(id, this.#hub.limits, 'session')
    if (this.#submitting !== undefined) return this.#submitting.end(id, { ...ending, outcome })
    this.#hub.endSession(id, outcome, ending)
    await this.#hub.committed(id)
  }

  async lease(topic: string | TopicName, ms: number, holder: object | undefined): Promise<void> {
    const { session, worker } = leasedTopicOf(topic, ms, this.#hub.limits)
    if (this.#submitting === undefined) {
      this.#hub.lease(topic, ms, holder)
      return this.#hub.committed(session)
    }
    await this.#submitting.lease(session, worker, ms)
    if (ms > 0 && holder !== undefined) this.#leases.hold(session, worker, ms, holder)
  }

  /** @returns once all that was submitted is in the log, or refused */
  async settled(): Promise<void> {
    await this.#submitting?.settled()
  }
}

function rejected(error: unknown): Promise<never> {
  return Promise.reject(error instanceof Error ? error : new Error(String(error)))
}
