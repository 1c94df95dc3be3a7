import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import { everything, Permissions } from '../../protocol/permissions.js'
import type { PatternText } from '../../protocol/topic.js'

/** What someone may do, as a token or `authorize` says it. Of what is absent, nothing. */
export interface Grant {
  /** Patterns of topics that may be read. */
  readonly subscribe?: readonly PatternText[]
  /** Patterns of topics that may be published to. */
  readonly publish?: readonly PatternText[]
  /** Patterns of topics that may be sent commands; `publish` includes it. */
  readonly command?: readonly PatternText[]
  /** Whom it is given to: requests and frames are bounded for each. Absent: for each address. */
  readonly subject?: string
  /** Milliseconds since 1970; absent: never. Connections that are open then are closed with 4501. */
  readonly expiresAt?: number
}

export interface VerifiedGrantOptions {
  readonly permissions: Permissions
  /** Whom it was given to: what all tokens of one holder do is counted together. Empty: nobody in particular. */
  readonly holder: string
  /** Whom it was given to, as others see it; absent: nobody in particular. */
  readonly subject?: string | undefined
  /** What it came with, without giving it away: equal for the same token, different for any other. */
  readonly token: string
  /** Milliseconds since 1970; absent: never. */
  readonly expiresAt?: number
  /** @returns why it is not good any more; nothing while it is */
  readonly reasonAgainst: () => string | undefined
}

/**
 * What a token stands for, once it has been verified. It may end at any time: by the clock, with its key, or by itself
 * being revoked. So nothing can be done with it without looking whether it is good, each time anew: an `await` in between
 * may have been its end.
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

  /** @returns why it is not good any more; nothing while it is */
  reasonAgainst(): string | undefined {
    return this.#reasonAgainst()
  }

  /**
   * Does in this moment what it allows.
   *
   * @param task done at once; what it waits for must not need the permissions any more
   * @throws ProtocolError `unauthorized` when it is not good any more; nothing was done then
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

/** What everybody has of a hub that asks nobody who they are. */
export const unlocked = new VerifiedGrant({
  permissions: everything,
  holder: '',
  token: '',
  reasonAgainst: () => undefined,
})

/** What a page has of such a hub that is not of its origin, and of none that was listed: it steers nobody. */
export const unlockedElsewhere = new VerifiedGrant({
  permissions: new Permissions({ subscribe: ['**'], publish: ['**'], commandless: true }),
  holder: '',
  token: '',
  reasonAgainst: () => undefined,
})

/**
 * @param expiresAt milliseconds since 1970; absent: never
 * @returns whether it has come: by the wall clock, or because as much time has passed as there was. A clock that is set
 *   back gives nobody more
 */
export function lifetimeOf(expiresAt: number | undefined, clock: Clock): () => boolean {
  if (expiresAt === undefined) return () => false
  const until = clock.elapsed() + expiresAt - clock.now()
  return () => expiresAt <= clock.now() || until <= clock.elapsed()
}

const fields: readonly string[] = ['subscribe', 'publish', 'command', 'subject', 'expiresAt']

/** @throws Error that names the field, when it is no grant */
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

/** @throws Error that names the field, when it is no grant */
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

/** What is wrong with a pattern here is no peer's mistake. */
function permissionsOf(patterns: Pick<Grant, 'subscribe' | 'publish' | 'command'>): Permissions {
  try {
    return new Permissions(patterns)
  } catch (error) {
    throw new TypeError(`grant.${(error as Error).message}`)
  }
}

/** Each of those whose rate is remembered has one. */
const subjectLengthMax = 256
