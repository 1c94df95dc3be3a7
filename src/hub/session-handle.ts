import type { JsonValue } from '../lib/json.js'
import { checkEventList, checkId } from '../protocol/check.js'
import type { Cause, NewEvent, PatchOperation } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import type { TopicName } from '../protocol/topic.js'
import type { StateOptions, StateResult } from '../session/precondition.js'
import type { EndOptions } from '../session/session-setting.js'
import type { Publisher, PublishResult } from '../sessions/publishing.js'
import type { GivenSecret } from '../sessions/secrets.js'
import { type Command, commandsOf, type Followable } from './commands.js'

/** One worker's topic, for producers within the process. */
export interface WorkerHandle {
  readonly id: string
  /** Begins or renews a lease: without a further event or lease within `ms` the worker counts as lost. 0 gives it up. */
  lease(ms: number): void
  publish(events: NewEvent | readonly NewEvent[]): PublishResult
  /** As `SessionHandle.commands`, of those sent to the worker. */
  commands(): AsyncIterableIterator<Command>
  setState(slice: string, value: JsonValue, cause?: Cause): StateResult
  patchState(slice: string, patch: readonly PatchOperation[], cause?: Cause): StateResult
  mergeState(slice: string, merge: JsonValue, cause?: Cause): StateResult
  removeState(slice: string, cause?: Cause): StateResult
}

/** What a handle needs of its hub. */
export interface Producing extends Followable {
  readonly limits: Limits
  publishTo(session: string, publisher: Publisher, events: readonly NewEvent[]): PublishResult
  setState(topic: TopicName, slice: string, value: JsonValue, options?: StateOptions): StateResult
  patchState(
    topic: TopicName,
    slice: string,
    patch: readonly PatchOperation[],
    options?: StateOptions,
  ): StateResult
  mergeState(topic: TopicName, slice: string, merge: JsonValue, options?: StateOptions): StateResult
  removeState(topic: TopicName, slice: string, options?: StateOptions): StateResult
  committed(session: string): Promise<void>
  lease(topic: TopicName, ms: number): void
  registerSecrets(session: string, values: readonly GivenSecret[]): void
  endSession(session: string, outcome?: JsonValue, ending?: Omit<EndOptions, 'outcome'>): void
}

/** A session, for producers within the process. */
export class SessionHandle {
  readonly id: string
  readonly #hub: Producing
  readonly #topic: TopicName

  constructor(hub: Producing, id: string) {
    this.#hub = hub
    this.id = id
    this.#topic = { kind: 'session', session: id }
  }

  /** @throws ProtocolError when an event is not valid or the session has ended; nothing is published then */
  publish(events: NewEvent | readonly NewEvent[]): PublishResult {
    return this.#hub.publishTo(this.id, undefined, asList(events, this.#hub.limits))
  }

  /**
   * The commands of watchers to the session, each once, beginning with those without a final state. Call `applied` or
   * `refused` of each. The iteration ends when the session does.
   */
  commands(): AsyncIterableIterator<Command> {
    return commandsOf(this.#hub, this.#topic)
  }

  /** @throws ProtocolError `badFrame` when the id is not valid */
  worker(id: string): WorkerHandle {
    checkId(id, this.#hub.limits, 'worker')
    const hub = this.#hub
    const topic: TopicName = { kind: 'worker', session: this.id, worker: id }
    return {
      id,
      lease: (ms) => hub.lease(topic, ms),
      publish: (events) => hub.publishTo(this.id, id, asList(events, hub.limits)),
      commands: () => commandsOf(hub, topic),
      setState: (slice, value, cause) => hub.setState(topic, slice, value, because(cause)),
      patchState: (slice, patch, cause) => hub.patchState(topic, slice, patch, because(cause)),
      mergeState: (slice, merge, cause) => hub.mergeState(topic, slice, merge, because(cause)),
      removeState: (slice, cause) => hub.removeState(topic, slice, because(cause)),
    }
  }

  /**
   * Sets a slice of the session's state. Its followers get the difference.
   *
   * @param value must not be changed afterwards; parts that are the same objects as before cost nothing
   * @param cause the action that led to it
   */
  setState(slice: string, value: JsonValue, cause?: Cause): StateResult {
    return this.#hub.setState(this.#topic, slice, value, because(cause))
  }

  /** @throws ProtocolError `conflict`, naming the operation, when the patch (RFC 6902) does not apply */
  patchState(slice: string, patch: readonly PatchOperation[], cause?: Cause): StateResult {
    return this.#hub.patchState(this.#topic, slice, patch, because(cause))
  }

  /** Merges into the slice (RFC 7386). */
  mergeState(slice: string, merge: JsonValue, cause?: Cause): StateResult {
    return this.#hub.mergeState(this.#topic, slice, merge, because(cause))
  }

  removeState(slice: string, cause?: Cause): StateResult {
    return this.#hub.removeState(this.#topic, slice, because(cause))
  }

  /** Begins or renews a lease: without a further event or lease within `ms` the session counts as lost. 0 gives it up. */
  lease(ms: number): void {
    this.#hub.lease(this.#topic, ms)
  }

  /** Masks the values in everything that is published to the session from now on. They are kept as hashes until it ends. */
  registerSecrets(values: readonly GivenSecret[]): void {
    this.#hub.registerSecrets(this.id, values)
  }

  /** @returns once everything published so far is stored. */
  committed(): Promise<void> {
    return this.#hub.committed(this.id)
  }

  /** @param ending its result and the reason; by default the worst result of its workers, or that of its own last run */
  end(outcome?: JsonValue, ending?: Omit<EndOptions, 'outcome'>): void {
    this.#hub.endSession(this.id, outcome, ending)
  }
}

function because(cause: Cause | undefined): StateOptions {
  return cause === undefined ? {} : { cause }
}

function asList(events: NewEvent | readonly NewEvent[], limits: Limits): readonly NewEvent[] {
  if (!isList(events)) return [events]
  checkEventList(events, limits)
  return events
}

function isList(events: NewEvent | readonly NewEvent[]): events is readonly NewEvent[] {
  return Array.isArray(events)
}
