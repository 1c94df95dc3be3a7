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

/** A grant that has been checked: by the key of a token, or by whoever answers for the surrounding application. */
export interface VerifiedGrant {
  readonly permissions: Permissions
  /** Whom it was given to: tokens of one holder may act for each other. Empty: nobody in particular. */
  readonly holder: string
  /** Which key vouches for it: without the key it is worth nothing. Absent where there is none to lose. */
  readonly key?: string
  /** Milliseconds since 1970; absent: never. */
  readonly expiresAt?: number
}

/** What everybody has of a hub that asks nobody who they are. */
export const unlocked: VerifiedGrant = { permissions: everything, holder: '' }

const fields: readonly string[] = ['subscribe', 'publish', 'command', 'subject', 'expiresAt']

/** @throws Error that names the field, when it is no grant */
export function verifiedGrant(value: unknown, { tokenPatternsMax }: Limits): VerifiedGrant {
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
  return {
    permissions: permissionsOf(patterns),
    holder: subject ? JSON.stringify({ subject }) : '',
    ...(expiresAt !== undefined && { expiresAt: expiresAt as number }),
  }
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
