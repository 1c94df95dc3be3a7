import type { Connection } from '../../delivery/connection.js'
import type { Clock } from '../../lib/clock.js'
import { closeCodes } from '../../protocol/codes.js'
import type { Fields, Log } from '../operations/log.js'
import type { LinkKind } from './links.js'

interface ConnectionLogParts {
  readonly log: Log
  readonly clock: Clock
  readonly connections: OpenConnections
}

export interface LoggedConnection {
  readonly connection: Connection
  readonly transport: LinkKind
  readonly address: string
}

/** The connections that are open, by their ids, in the order in which they opened. */
export class OpenConnections extends Map<string, ConnectionLog> {
  #opened = 0

  /** @returns a number for a new connection, higher than all before */
  number(): number {
    this.#opened += 1
    return this.#opened
  }
}

/** The log of one connection: it is listed while it is open, and gets one log line at its end. */
export class ConnectionLog {
  readonly connection: Connection
  readonly transport: LinkKind
  readonly address: string
  /** Higher than those of all connections that opened before. */
  readonly number: number
  readonly #context: ConnectionLogParts
  readonly #openedAt: number
  /** The number of frames from the client; absent if it cannot send any. */
  received: number | undefined

  constructor(context: ConnectionLogParts, { connection, transport, address }: LoggedConnection) {
    this.number = context.connections.number()
    this.#context = context
    this.connection = connection
    this.transport = transport
    this.address = address
    context.connections.set(connection.id, this)
    this.#openedAt = context.clock.elapsed()
    context.log.debug({ connection: connection.id, transport, address }, 'connection opened')
  }

  /** @returns for how long it has been open. Milliseconds */
  openedFor(): number {
    return Math.round(this.#context.clock.elapsed() - this.#openedAt)
  }

  /**
   * The link has closed, and the connection has left its feeds.
   *
   * @param code of the close frame, if the transport has one
   */
  end(code?: number): void {
    const { log, connections } = this.#context
    const { connection } = this
    connections.delete(connection.id)
    log.info(
      {
        connection: connection.id,
        transport: this.transport,
        address: this.address,
        ms: this.openedFor(),
        subscriptions: connection.subscribed,
        ...(this.received !== undefined && { received: this.received }),
        events: connection.events,
        bytes: connection.bytes,
        ...endOf(connection, code),
      },
      'connection closed',
    )
  }
}

/** Who ended it, and why. */
function endOf({ ending }: Connection, code: number | undefined): Fields {
  switch (ending?.kind) {
    case 'closed':
      return { by: 'hub', code: closeCodes[ending.code], reason: ending.reason }
    case 'done':
      return { by: 'hub', reason: 'all that it followed has ended' }
    case undefined:
      return {
        by: 'client',
        ...(code !== undefined && { code }),
        reason: reasons[code ?? 0] ?? 'it has gone',
      }
  }
}

/** RFC 6455, section 7.4.1. */
const reasons: Readonly<Record<number, string>> = {
  1000: 'it closed',
  1001: 'it went away',
  1005: 'it closed without a code',
  1006: 'the link was cut',
}
