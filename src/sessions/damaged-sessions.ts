import { ProtocolError } from '../protocol/codes.js'
import { StoreError } from '../store/store.js'

/** The sessions that were found damaged in the store, until they are gone. */
export class DamagedSessions {
  readonly #found = new Set<string>()
  /** Those that cannot be written to, and why. */
  readonly #unwritable = new Map<string, string>()

  get size(): number {
    return this.#found.size
  }

  /** A commit met the session's damage: nothing can be added to it. */
  add(session: string, reason: string): void {
    this.#found.add(session)
    this.#unwritable.set(session, reason)
  }

  /** The session is gone: another of its id is another one. */
  delete(session: string): void {
    this.#found.delete(session)
    this.#unwritable.delete(session)
  }

  /** @throws ProtocolError `damaged` */
  expectWritable(session: string): void {
    const reason = this.#unwritable.get(session)
    if (reason !== undefined) throw new ProtocolError('damaged', reason)
  }

  /** @returns what is answered where a call of the store has failed; whose data is damaged is remembered */
  answerTo(error: unknown): unknown {
    if (!(error instanceof StoreError)) return error
    if (error.kind !== 'damaged') return unavailable(error)
    if (error.session !== undefined) this.#found.add(error.session)
    return new ProtocolError('damaged', error.message)
  }
}

/** @returns what is answered while the store fails */
export function unavailable({ message }: StoreError): ProtocolError {
  return new ProtocolError('unavailable', message)
}

export function isDamaged(error: unknown): error is ProtocolError {
  return error instanceof ProtocolError && error.code === 'damaged'
}
