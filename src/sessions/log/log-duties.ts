import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import type { LogEntry } from '../../log/entries.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { EventCheck } from '../../session/event-check.js'
import type { Session } from '../../session/session.js'
import type { DueTimes } from '../due/due-times.js'
import type { Leases } from '../due/leases.js'
import type { Submitting } from './submitting.js'

/** A random delay, so that of several hubs with the same duty one is first and the others find it done. */
const spreadMs = 400
/** The delay before a failed entry is submitted again. */
const retryMs = 1_000

export interface LogDutiesParts {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly check: EventCheck
  readonly submitting: Submitting
  readonly leases: Leases
  readonly commandTimes: DueTimes
  readonly stallTimes: DueTimes
  /** The number of expired leases that this hub reported. */
  readonly lost: { sessions: number; workers: number }
}

/**
 * The events that a hub itself publishes for the sessions of a log: a publisher is lost or stalled, a command has expired or
 * was delivered. All hubs that have held the session do this; an entry that comes too late has no effect.
 */
export class LogDuties {
  readonly #parts: LogDutiesParts
  #closed = false

  constructor(parts: LogDutiesParts) {
    this.#parts = parts
  }

  /** A lease may have expired. */
  runOut(id: string, workerId: string | undefined): void {
    const { leases, lost } = this.#parts
    void this.#soon(id, (session) => {
      const worker = workerId === undefined ? undefined : session.workers.get(workerId)
      if ((workerId !== undefined && worker === undefined) || session.publishers.leases.of(workerId) === 0)
        return []
      const leftMs = session.publishers.leaseLeft(worker)
      if (leftMs > 0) {
        leases.follow(id, workerId, leftMs)
        return []
      }
      const reason = 'its lease ran out without a sign of life'
      return [{ kind: 'lost', worker: workerId, seen: session.publishers.heardOffset(worker), reason }]
    }).then((meant) => {
      lost[workerId === undefined ? 'sessions' : 'workers'] += meant
    })
  }

  /** Commands may have expired. */
  expire(id: string): undefined {
    const { clock, check, commandTimes } = this.#parts
    void this.#soon(id, (session) => {
      const { expired, nextMs } = session.commands.look()
      if (nextMs !== undefined) commandTimes.wait(id, undefined, clock.now() + nextMs)
      return expired.map(({ worker, command }): LogEntry => {
        const data = { offset: command.offset, state: 'expired' }
        const { bytes } = check.value(data, 'data')
        const event = { type: 'command.done', data }
        return { kind: 'event', worker: worker?.id, event, bytes, steers: true, byHub: true }
      })
    })
  }

  /** A session or worker may have stalled. */
  stall(id: string, workerId: string | undefined): undefined {
    const { clock, stallTimes } = this.#parts
    void this.#soon(id, (session) => {
      const worker = workerId === undefined ? undefined : session.workers.get(workerId)
      if (workerId !== undefined && worker === undefined) return []
      const leftMs = session.publishers.stallLeftMs(worker)
      if (leftMs === undefined) return []
      if (leftMs > 0) {
        stallTimes.wait(id, workerId, clock.now() + leftMs)
        return []
      }
      const { heardOffset: seen } = (worker ?? session).progress
      return [{ kind: 'stalled', worker: workerId, seen, stalled: session.publishers.stuckIn(worker) }]
    })
  }

  /** A follower at this hub has got commands. */
  delivered(id: string, worker: string | undefined, commands: readonly Offset[]): void {
    void this.#say(id, () => [{ kind: 'delivered', worker, commands }])
  }

  /** A hub is gone, and its watchers with it. */
  hubGone(id: string, hub: string): void {
    void this.#soon(id, ({ watching }) =>
      (watching?.topics ?? []).flatMap((worker): LogEntry[] =>
        watching?.of(worker, hub) === undefined
          ? []
          : [{ kind: 'watchers', worker, watchers: { hub, count: 0, asks: false } }],
      ),
    )
  }

  /** A connection with a lease is alive. */
  renew(id: string, worker: string | undefined, ms: number): void {
    const { submitting, leases } = this.#parts
    submitting.lease(id, worker, ms).catch((error: unknown) => {
      // While the log is away, no hub can report the holder as lost.
      if (error instanceof ProtocolError && error.code === 'unavailable') return
      leases.drop(id, worker)
    })
  }

  /** The hub closes. */
  close(): void {
    this.#closed = true
  }

  #soon(id: string, entriesOf: (session: Session) => readonly LogEntry[]): Promise<number> {
    const { clock, random } = this.#parts
    return new Promise((resolve) => {
      clock.after(Math.round(random.fraction() * spreadMs), () => resolve(this.#say(id, entriesOf)))
    })
  }

  async #say(id: string, entriesOf: (session: Session) => readonly LogEntry[]): Promise<number> {
    const { submitting, clock } = this.#parts
    while (!this.#closed) {
      try {
        return await submitting.own(id, entriesOf)
      } catch (error) {
        // An entry that is refused is not needed any more.
        if (!(error instanceof ProtocolError && error.code === 'unavailable')) return 0
      }
      await new Promise<void>((resolve) => clock.after(retryMs, resolve))
    }
    return 0
  }
}
