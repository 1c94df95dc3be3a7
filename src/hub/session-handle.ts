import type { JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { NewEvent } from '../protocol/frames.js'
import { idPattern } from '../protocol/topic.js'
import type { Hub, PublishResult } from './hub.js'

/** One worker's topic, for producers within the process. */
export interface WorkerHandle {
  readonly id: string
  publish(events: NewEvent | readonly NewEvent[]): PublishResult
}

/** A session, for producers within the process. */
export class SessionHandle {
  readonly id: string
  readonly #hub: Hub

  constructor(hub: Hub, id: string) {
    this.#hub = hub
    this.id = id
  }

  /** @throws ProtocolError when an event is not valid or the session has ended; nothing is published then */
  publish(events: NewEvent | readonly NewEvent[]): PublishResult {
    return this.#hub.publishTo(this.id, undefined, asList(events))
  }

  /** @throws ProtocolError `badFrame` when the id is not valid */
  worker(id: string): WorkerHandle {
    if (!idPattern.test(id)) {
      throw new ProtocolError('badFrame', `worker: expected 1–128 of A–Z a–z 0–9 . _ ~ -, got ${quote(id)}`)
    }
    return { id, publish: (events) => this.#hub.publishTo(this.id, id, asList(events)) }
  }

  /** @returns once everything published so far is stored. */
  committed(): Promise<void> {
    return this.#hub.committed(this.id)
  }

  end(outcome?: JsonValue): void {
    this.#hub.endSession(this.id, outcome)
  }
}

function asList(events: NewEvent | readonly NewEvent[]): readonly NewEvent[] {
  return isList(events) ? events : [events]
}

function isList(events: NewEvent | readonly NewEvent[]): events is readonly NewEvent[] {
  return Array.isArray(events)
}
