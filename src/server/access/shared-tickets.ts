import { createCipheriv, createDecipheriv, createHash } from 'node:crypto'
import type { SharedLog } from '../../log/shared-log.js'
import { ProtocolError } from '../../protocol/codes.js'
import { StoreError } from '../../store/store.js'

/** Where the hubs of a log leave something for each other. */
export type Notes = Pick<SharedLog, 'put' | 'take'>

const algorithm = 'aes-256-gcm'
/** Of the authentication tag. */
const sealBytes = 16
/** What a ticket looks like, so that others need not be looked up. */
const form = /^[\w-]{32}$/

/**
 * The tokens that tickets stand for, for all hubs of a log. A token is encrypted with its ticket, which the log does not have, so
 * a reader of the log can use neither.
 */
export class SharedTickets {
  readonly #notes: Notes
  readonly #ms: number

  /** @param ms how long a ticket is valid */
  constructor(notes: Notes, ms: number) {
    this.#notes = notes
    this.#ms = ms
  }

  /** @throws ProtocolError `unavailable` if the log cannot be reached */
  async keep(ticket: string, token: string): Promise<void> {
    const cipher = createCipheriv(algorithm, digest('key', ticket), nonce)
    const sealed = Buffer.concat([cipher.update(token, 'utf8'), cipher.final(), cipher.getAuthTag()])
    await reached(this.#notes.put(nameOf(ticket), sealed, this.#ms))
  }

  /**
   * @returns the token, once for all hubs; undefined if there is no such ticket any more
   * @throws ProtocolError `unavailable` if the log cannot be reached
   */
  async take(ticket: string): Promise<string | undefined> {
    if (!form.test(ticket)) return undefined
    const sealed = await reached(this.#notes.take(nameOf(ticket)))
    if (sealed === undefined || sealed.length < sealBytes) return undefined
    const decipher = createDecipheriv(algorithm, digest('key', ticket), nonce)
    decipher.setAuthTag(sealed.subarray(-sealBytes))
    return decipher.update(sealed.subarray(0, -sealBytes), undefined, 'utf8') + decipher.final('utf8')
  }
}

/** Each key encrypts one token. */
const nonce = Buffer.alloc(12)

function nameOf(ticket: string): string {
  return `ticket:${digest('name', ticket).toString('base64url')}`
}

function digest(use: string, ticket: string): Buffer {
  return createHash('sha256').update(`${use} ${ticket}`).digest()
}

async function reached<Answer>(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer
  } catch (error) {
    throw error instanceof StoreError ? new ProtocolError('unavailable', error.message) : error
  }
}
