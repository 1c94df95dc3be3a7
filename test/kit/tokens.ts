import { createSecretKey, type KeyObject } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'

/** A secret as a hub is given it: 43 characters. */
export const secret = 'a-secret-of-the-tests-of-43-characters-1234'

export interface Minted extends JWTPayload {
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
}

/** @returns a token with these claims; it expires in an hour unless they say otherwise */
export function mint(
  claims: Minted,
  {
    key = createSecretKey(Buffer.from(secret)),
    alg = 'HS256',
    kid,
  }: { key?: KeyObject; alg?: string; kid?: string } = {},
): Promise<string> {
  return new SignJWT({ exp: Math.floor(Date.now() / 1_000) + 3_600, ...claims })
    .setProtectedHeader({ alg, typ: 'JWT', ...(kid !== undefined && { kid }) })
    .sign(key)
}
