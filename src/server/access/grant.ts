import { everything, type Permissions } from '../../protocol/permissions.js'

/** What a token stands for, once it has been verified. */
export interface Grant {
  readonly permissions: Permissions
  /** Whom it was given to: tokens of one holder may act for each other. */
  readonly holder: string
  /** Which key vouches for it: without the key it is worth nothing. Absent where there is none to lose. */
  readonly key?: string
  /** Milliseconds since 1970; absent: never. */
  readonly expiresAt?: number
}

/** What everybody has of a hub without token keys. */
export const unlocked: Grant = { permissions: everything, holder: '' }
