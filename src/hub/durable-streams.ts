import { type Clock, withoutJumpsAhead } from '../lib/clock.js'
import type { StreamChange } from '../log/entries.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { NewEvent } from '../protocol/frames.js'
import type { TopicName } from '../protocol/topic.js'
import { isExpired, type StreamOutcome } from '../session/durable-stream.js'
import { Filter } from '../session/filter.js'
import type { Submitting } from '../sessions/log/submitting.js'
import type { Publishing } from '../sessions/publishing.js'
import type { Sessions } from '../sessions/sessions.js'
import type { StreamRecord } from '../store/store.js'

export interface DurableStreamsParts {
  readonly clock: Clock
  readonly sessions: Sessions
  readonly publishing: Publishing
  /** Present if a log assigns the offsets. */
  readonly submitting: Submitting | undefined
  readonly catchUp: (topic: TopicName) => Promise<void> | undefined
  readonly committed: (session: string) => Promise<void>
  readonly remove: (session: string) => Promise<void>
}

/** A read is recorded once this part of the time to live has passed since the last one. */
const touchPart = 0.05

/** Sessions that are durable streams: requests to them, and what readers need. Ids have been checked. */
export class DurableStreams {
  readonly #parts: DurableStreamsParts
  /** What has expired is removed, which cannot be undone. */
  readonly #clock: Clock

  constructor(parts: DurableStreamsParts) {
    this.#parts = parts
    this.#clock = withoutJumpsAhead(parts.clock)
  }

  /**
   * @returns the stream, as far as the log is now; undefined if there is none, or it has expired. An expired one is removed,
   *   or marked as deleted if it has forks.
   */
  async find(id: string): Promise<StreamRecord | undefined> {
    const { catchUp, sessions } = this.#parts
    await catchUp({ kind: 'session', session: id })
    const stream = sessions.known(id)?.stream
    if (stream === undefined || stream.isDeleted || !isExpired(stream, this.#clock.now())) return stream
    await this.delete(id, stream)
    return sessions.known(id)?.stream
  }

  /** Removes a stream. While there are forks of it, it is kept, and nothing can be done with it. @param stream as it is now */
  async delete(id: string, stream: StreamRecord): Promise<void> {
    for (const fork of stream.forks ?? []) {
      // One that was never made, or has been removed as a session, does not count.
      if ((await this.find(fork))?.fork?.source !== id) continue
      if (!stream.isDeleted) await this.#change(id, { kind: 'delete' })
      return
    }
    await this.#parts.remove(id).catch((error: unknown) => {
      if (!(error instanceof ProtocolError && error.code === 'notFound')) throw error
    })
    if (stream.fork !== undefined) await this.#release(stream.fork.source, id)
  }

  /** A fork has gone: the stream that it was forked from may go too. */
  async #release(source: string, fork: string): Promise<void> {
    if ((await this.find(source)) === undefined) return
    const outcome = await this.#change(source, { kind: 'release', fork })
    const { stream } = outcome
    if (stream?.isDeleted) await this.delete(source, stream)
  }

  /** @returns the stream, if its session is in memory */
  held(id: string): StreamRecord | undefined {
    return this.#parts.sessions.held(id)?.stream
  }

  /**
   * Makes a request to a stream.
   *
   * @param messages of the types `stream.*`
   * @returns its answer, once what it depends on is stored, or in the log
   * @throws ProtocolError as `Hub.submit`
   */
  async submit(id: string, change: StreamChange, messages: readonly NewEvent[] = []): Promise<StreamOutcome> {
    await this.find(id)
    return this.#change(id, change, messages)
  }

  async #change(
    id: string,
    change: StreamChange,
    messages: readonly NewEvent[] = [],
  ): Promise<StreamOutcome> {
    const { publishing, submitting, committed } = this.#parts
    if (submitting === undefined) {
      const outcome = publishing.stream(id, change, messages)
      await committed(id)
      return outcome
    }
    const outcome = await submitting.stream(id, change, messages)
    if (outcome.kind !== 'refused' && outcome.closedNow) await this.#end(id, submitting)
    return outcome
  }

  /** The session of a closed stream ends; a hub may have gone in between. */
  async #end(id: string, submitting: Submitting): Promise<void> {
    await submitting.end(id, {}).catch((error: unknown) => {
      if (!(error instanceof ProtocolError && error.code === 'conflict')) throw error
    })
  }

  /** The stream was read: it lives on. Reads are recorded from time to time. */
  read(id: string, stream: StreamRecord): void {
    const { ttlSeconds, touchedAt = 0 } = stream
    if (ttlSeconds === undefined) return
    if (this.#parts.clock.now() - touchedAt < ttlSeconds * 1_000 * touchPart) return
    // A read is answered even if it cannot be recorded now; a later one is.
    this.submit(id, { kind: 'touch' }).catch(() => undefined)
  }

  /**
   * @returns whether events after an offset can no longer be read
   * @throws ProtocolError `notFound`
   */
  hasLost(topicName: TopicName, after: Offset, types?: readonly string[]): boolean {
    const topic = this.#parts.sessions.topics.started(topicName)
    const { critical, droppable } = topic.lossAfter(
      after,
      new Filter({ mode: 'full', ...(types && { types }) }),
    )
    return critical > after || droppable > after
  }

  /**
   * @returns the stream at the end of the session, for those whose hub went between closing it and ending its session
   */
  async endClosed(id: string, stream: StreamRecord): Promise<void> {
    const { submitting, sessions } = this.#parts
    if (submitting === undefined || stream.closed === undefined) return
    if (sessions.known(id)?.status !== 'ended') await this.#end(id, submitting)
  }
}
