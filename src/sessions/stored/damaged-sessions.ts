import { ProtocolError } from '../../protocol/codes.js'
import { StoreError } from '../../store/store.js'

/** The damaged sessions in the store, until they are removed. */
export class DamagedSessions {
  readonly #found = new Set<string>()
  /** Sessions that cannot be written to, with the reason. */
  readonly #unwritable = new Map<string, string>()
  readonly #onDamaged: ((session: string, reason: string) => void) | undefined

  /** @param onDamaged called once for each session that is found damaged */
  constructor(onDamaged?: (session: string, reason: string) => void) {
    this.#onDamaged = onDamaged
  }

  get size(): number {
    return this.#found.size
  }

  /** A part of the session is damaged; it may still be possible to write to it. */
  note(session: string, reason: string): void {
    if (this.#found.has(session)) return
    this.#found.add(session)
    this.#onDamaged?.(session, reason)
  }

  /** A commit failed on the session's damage: it cannot be written to. */
  add(session: string, reason: string): void {
    this.note(session, reason)
    this.#unwritable.set(session, reason)
  }

  /** The session was removed; a new one with its id is not damaged. */
  delete(session: string): void {
    this.#found.delete(session)
    this.#unwritable.delete(session)
  }

  /** @throws ProtocolError `damaged` */
  expectWritable(session: string): void {
    const reason = this.#unwritable.get(session)
    if (reason !== undefined) throw new ProtocolError('damaged', reason)
  }

  /** @returns the error for the client after a failed call of the store; a damaged session is remembered */
  answerTo(error: unknown): unknown {
    if (!(error instanceof StoreError)) return error
    if (error.kind !== 'damaged') return unavailable(error)
    if (error.session !== undefined) this.note(error.session, error.message)
    return new ProtocolError('damaged', error.message)
  }
}

/** @returns the error for clients while the store fails */
export function unavailable({ message }: StoreError): ProtocolError {
  return new ProtocolError('unavailable', message)
}

/** Whether what is needed cannot be read now. */
export function isUnavailable(error: unknown): error is ProtocolError {
  return error instanceof ProtocolError && error.code === 'unavailable'
}

export function isDamaged(error: unknown): error is ProtocolError {
  return error instanceof ProtocolError && error.code === 'damaged'
}
