import type { Hub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { LogEntry } from '../../src/log/entries.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { FaultyLink } from '../kit/faulty-log.js'
import type { LogClientCounts } from './log-client.js'

export const sessionIds = ['a', 'b']
export const sliceNames = ['plan', 'files', 'notes']

export interface Counts extends LogClientCounts {
  published: number
  duplicates: number
  refused: number
  changes: number
  unchanged: number
  kills: number
  cuts: number
  deafnesses: number
  failovers: number
  lostAcknowledged: number
  removed: number
  ended: number
  leases: number
  losses: number
  reads: number
  commands: number
  receipts: number
  superseded: number
  /** Texts whose secret had to be masked. */
  masked: number
}

export function noCounts(): Counts {
  return {
    events: 0,
    updates: 0,
    gaps: 0,
    lostGaps: 0,
    evicted: 0,
    joins: 0,
    resumes: 0,
    moves: 0,
    comebacks: 0,
    published: 0,
    duplicates: 0,
    refused: 0,
    changes: 0,
    unchanged: 0,
    kills: 0,
    cuts: 0,
    deafnesses: 0,
    failovers: 0,
    lostAcknowledged: 0,
    removed: 0,
    ended: 0,
    leases: 0,
    losses: 0,
    reads: 0,
    commands: 0,
    receipts: 0,
    superseded: 0,
    masked: 0,
  }
}

export interface Place {
  hub: Hub
  link: FaultyLink
  /** Changes when the hub dies. */
  life: number
}

export interface Pending {
  readonly session: string
  readonly worker: string | undefined
  readonly event: NewEvent
  /** The life of the hub that has been asked. */
  asked: { readonly place: Place; readonly life: number } | undefined
}

/** What the log has of a session in the end. */
export interface Truth {
  readonly events: ReadonlyMap<number, NewEvent>
  /** Where events stand that a newer attempt has taken the place of. */
  readonly superseded: ReadonlySet<number>
  /** Where it may stand that somebody is stuck. */
  readonly perhaps: ReadonlySet<number>
  readonly slices: Record<string, JsonValue>
  readonly last: number
}

/** What the entries of a log say of the session and its workers, worked out without the hubs' code. */
export class Publishers {
  readonly superseded = new Set<number>()
  readonly #events: Map<number, NewEvent>
  /** By worker; empty for the session: commands that are open, in their order, over all of them. */
  readonly #open = new Map<number, string>()
  readonly #leases = new Map<string, number>()
  readonly #heard = new Map<string, number>()
  readonly #lost = new Set<string>()
  /** By worker and step: the newest attempt, and where events of attempts stand. */
  readonly #attempts = new Map<string, number>()
  readonly #ofAttempts: { readonly name: string; readonly number: number; readonly offset: number }[] = []

  constructor(events: Map<number, NewEvent>) {
    this.#events = events
  }

  changed(offset: number): void {
    this.#heard.set('', offset)
  }

  take(entry: LogEntry, offset: number): void {
    switch (entry.kind) {
      case 'event': {
        const { event, worker = '', byHub = false } = entry
        const isCommand = event.type === 'command.pause'
        if (event.type === 'command.done') {
          const { offset: of } = event.data as { offset: number }
          if (this.#open.get(of) !== worker) return
          this.#open.delete(of)
        }
        if (!isCommand && !byHub) this.#heard.set('', offset)
        if (event.attempt !== undefined) {
          const { step, number } = event.attempt
          const name = `${worker}/${step}`
          if (number < (this.#attempts.get(name) ?? 0)) return
          this.#ofAttempts.push({ name, number, offset })
        }
        if (!isCommand && !byHub && worker !== '') {
          this.#heard.set(worker, offset)
          this.#lost.delete(worker)
        }
        if (isCommand) this.#open.set(offset, worker)
        this.#events.set(offset, event)
        return
      }
      case 'attempt': {
        const { attempt, worker = '', base } = entry
        const name = `${worker}/${attempt.step}`
        if (this.#attempts.get(name) !== base) return
        this.#attempts.set(name, attempt.number)
        for (const one of this.#ofAttempts) {
          if (one.name === name && one.number < attempt.number) this.superseded.add(one.offset)
        }
        if (base !== undefined) this.#events.set(offset, { type: 'attempt.superseded' })
        return
      }
      case 'lease':
        this.#leases.set(entry.worker ?? '', entry.ms)
        this.#heard.set(entry.worker ?? '', offset)
        return
      case 'lost': {
        const { worker = '', seen } = entry
        if ((this.#leases.get(worker) ?? 0) === 0 || (this.#heard.get(worker) ?? 0) > seen) return
        this.#leases.delete(worker)
        if (this.#lost.has(worker)) return
        if (worker !== '') this.#lost.add(worker)
        this.#events.set(offset, { type: worker === '' ? 'session.lost' : 'worker.lost' })
        return
      }
      case 'end': {
        let at = offset
        for (const of of [...this.#open.keys()].slice(0, entry.room)) {
          this.#events.set(at, { type: 'command.done', data: { offset: of } })
          at += 2
        }
        this.#events.set(offset + 2 * entry.room + 2, { type: 'complete' })
        return
      }
      case 'change':
      case 'configure':
      case 'delivered':
      case 'stalled':
      case 'watchers':
        return
      // The simulation has no durable streams, and nothing in it is redacted.
      case 'stream':
      case 'redact':
        return
    }
  }
}
