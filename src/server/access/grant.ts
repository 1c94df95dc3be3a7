import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import { everything, Permissions } from '../../protocol/permissions.js'
import type { PatternText } from '../../protocol/topic.js'

/** The permissions in a token or from `authorize`. An absent list permits nothing. */
export interface Grant {
  /** Patterns of topics that may be read. */
  readonly subscribe?: readonly PatternText[]
  /** Patterns of topics that may be published to. */
  readonly publish?: readonly PatternText[]
  /** Patterns of topics that may be sent commands; `publish` includes it. */
  readonly command?: readonly PatternText[]
  /** The holder: rates of requests and frames are limited per holder. Absent: per address. */
  readonly subject?: string
  /** Milliseconds since 1970; absent: never. Connections that are open then are closed with 4501. */
  readonly expiresAt?: number
}

export interface VerifiedGrantOptions {
  readonly permissions: Permissions
  /** The holder: the use of all tokens of one holder is counted together. Empty: unknown. */
  readonly holder: string
  /** The holder's name for others; absent: unknown. */
  readonly subject?: string | undefined
  /** A digest of the token: equal for the same token, different for any other. */
  readonly token: string
  /** Milliseconds since 1970; absent: never. */
  readonly expiresAt?: number
  /** @returns why it is no longer valid; undefined while it is */
  readonly reasonAgainst: () => string | undefined
}

/**
 * The permissions of a verified token. They may end at any time: by the clock, with the key, or by revocation. So each use
 * checks the validity again, because they may have ended during an `await`.
 */
export class VerifiedGrant {
  readonly holder: string
  readonly subject: string | undefined
  readonly token: string
  readonly expiresAt: number | undefined
  readonly #permissions: Permissions
  readonly #reasonAgainst: () => string | undefined

  constructor({ permissions, holder, subject, token, expiresAt, reasonAgainst }: VerifiedGrantOptions) {
    this.#permissions = permissions
    this.holder = holder
    this.subject = subject
    this.token = token
    this.expiresAt = expiresAt
    this.#reasonAgainst = reasonAgainst
  }

  /** @returns why it is no longer valid; undefined while it is */
  reasonAgainst(): string | undefined {
    return this.#reasonAgainst()
  }

  /**
   * Runs a task with the permissions.
   *
   * @param task runs at once; it must not use the permissions after an `await`
   * @throws ProtocolError `unauthorized` when the grant is no longer valid; then the task has not run
   */
  use<Result>(task: (permissions: Permissions) => Result): Result {
    const reason = this.#reasonAgainst()
    if (reason !== undefined) throw unauthorized(reason)
    return task(this.#permissions)
  }
}

export function unauthorized(text: string): ProtocolError {
  return new ProtocolError('unauthorized', text)
}

/** What to do about a stream or a ticket, which only one of the hubs of a log knows. */
export const sameHub =
  'another hub may know it; a balancer can send all requests of a client to the same hub, see docs/operations/cluster.md.'

/** The grant of every client of a hub without authorization. */
export const unlocked = new VerifiedGrant({
  permissions: everything,
  holder: '',
  token: '',
  reasonAgainst: () => undefined,
})

/** The grant of a page of another, unlisted origin at such a hub: it may not send commands. */
export const unlockedElsewhere = new VerifiedGrant({
  permissions: new Permissions({ subscribe: ['**'], publish: ['**'], commandless: true }),
  holder: '',
  token: '',
  reasonAgainst: () => undefined,
})

/**
 * @param expiresAt milliseconds since 1970; absent: never
 * @returns a function that tells whether the time has come: by the wall clock, or because the remaining time has elapsed. So
 *   setting the clock back does not extend a grant
 */
export function lifetimeOf(expiresAt: number | undefined, clock: Clock): () => boolean {
  if (expiresAt === undefined) return () => false
  const until = clock.elapsed() + expiresAt - clock.now()
  return () => expiresAt <= clock.now() || until <= clock.elapsed()
}

const fields: readonly string[] = ['subscribe', 'publish', 'command', 'subject', 'expiresAt']

/** @throws Error that names the field, when it is not a grant */
export function verifiedGrant(value: unknown, limits: Limits, clock: Clock): VerifiedGrant {
  const { permissions, grant } = checkedGrant(value, limits)
  const { subject, expiresAt, ...patterns } = grant
  const isOver = lifetimeOf(expiresAt, clock)
  return new VerifiedGrant({
    permissions,
    holder: subject ? JSON.stringify({ subject }) : '',
    subject,
    token: JSON.stringify({ subject, ...patterns }),
    ...(expiresAt !== undefined && { expiresAt }),
    reasonAgainst: () => (isOver() ? 'The authorization has expired.' : undefined),
  })
}

/** @throws Error that names the field, when it is not a grant */
export function checkedGrant(
  value: unknown,
  { tokenPatternsMax }: Limits,
): { readonly permissions: Permissions; readonly grant: Grant } {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError('grant: expected { subscribe?, publish?, command?, subject?, expiresAt? }')
  }
  const stranger = Object.keys(value).find((field) => !fields.includes(field))
  if (stranger !== undefined)
    throw new TypeError(`grant: expected no field but ${fields.join(', ')}, got ${stranger}`)
  const { subject, expiresAt, ...patterns } = value as { readonly [field: string]: unknown }
  for (const [name, list] of Object.entries(patterns)) {
    const fits =
      list === undefined ||
      (Array.isArray(list) && list.length <= tokenPatternsMax && list.every((one) => typeof one === 'string'))
    if (!fits)
      throw new TypeError(`grant.${name}: expected a list of at most ${tokenPatternsMax} topic patterns`)
  }
  if (subject !== undefined && (typeof subject !== 'string' || subject.length > subjectLengthMax)) {
    throw new TypeError(`grant.subject: expected a text of at most ${subjectLengthMax} characters`)
  }
  if (expiresAt !== undefined && !Number.isFinite(expiresAt)) {
    throw new TypeError('grant.expiresAt: expected milliseconds since 1970')
  }
  return { permissions: permissionsOf(patterns), grant: value }
}

/** A wrong pattern here is not a peer's mistake. */
function permissionsOf(patterns: Pick<Grant, 'subscribe' | 'publish' | 'command'>): Permissions {
  try {
    return new Permissions(patterns)
  } catch (error) {
    throw new TypeError(`grant.${(error as Error).message}`)
  }
}

/** Bounded, because each remembered rate keeps a subject. */
const subjectLengthMax = 256
