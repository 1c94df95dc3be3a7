import { createPrivateKey, type JsonWebKey, KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import { type Clock, systemClock } from '../../lib/clock.js'
import { systemRandom } from '../../lib/random.js'
import { defaultLimits } from '../../protocol/limits.js'
import { checkedGrant, type Grant } from './grant.js'
import { algorithmsOf, messageOf, secretKey } from './token-keys.js'

export interface SignOptions {
  /** The key's id at the hub; default: that of the JWK. */
  readonly kid?: string
  /** Which hubs it is meant for (`aud`). */
  readonly audience?: readonly string[]
  /** The issuer (`iss`). */
  readonly issuer?: string
  /** The id by which it can be revoked (`jti`); default: random. */
  readonly id?: string
  readonly clock?: Clock
}

/** A signing key with its algorithm. */
export interface SigningKey {
  readonly key: KeyObject
  readonly algorithm: string
  readonly kid?: string
}

/**
 * Creates a token (JWT) with the permissions of its holder.
 *
 * @param key a secret of at least 32 bytes (HS256), or a private key: PEM, JWK or `KeyObject`
 * @throws Error when the key cannot sign, a pattern is not valid, or the token exceeds the hub's limit
 */
export async function signToken(
  grant: Grant,
  key: string | Uint8Array | KeyObject,
  options: SignOptions = {},
): Promise<string> {
  return signWith(grant, signingKeyOf(key), options)
}

export async function signWith(
  grant: Grant,
  { key, algorithm, kid }: SigningKey,
  options: SignOptions,
): Promise<string> {
  checkedGrant(grant, defaultLimits)
  const { subscribe, publish, command, subject, expiresAt } = grant
  const { audience, issuer, id = systemRandom.id(16), clock = systemClock } = options
  const keyId = options.kid ?? kid
  const claims = {
    ...(subscribe && { subscribe }),
    ...(publish && { publish }),
    ...(command && { command }),
    ...(subject !== undefined && { sub: subject }),
    ...(audience && { aud: [...audience] }),
    ...(issuer !== undefined && { iss: issuer }),
    jti: id,
    iat: Math.floor(clock.now() / 1_000),
    ...(expiresAt !== undefined && { exp: Math.floor(expiresAt / 1_000) }),
  }
  const header = { alg: algorithm, typ: 'JWT', ...(keyId !== undefined && { kid: keyId }) }
  const token = await new SignJWT(claims).setProtectedHeader(header).sign(key)
  if (token.length <= defaultLimits.tokenLengthMax) return token
  throw new Error(
    `the token has ${token.length} characters, and a hub takes ${defaultLimits.tokenLengthMax}: use fewer patterns`,
  )
}

function signingKeyOf(key: string | Uint8Array | KeyObject): SigningKey {
  if (key instanceof KeyObject) return keyFor(key, 'key')
  if (typeof key !== 'string' || !/^\s*(\{|-----BEGIN )/.test(key)) return secretSigningKey(key, 'key')
  return privateSigningKey(key, 'key')
}

/** @throws Error when it is too short */
export function secretSigningKey(secret: string | Uint8Array, name: string): SigningKey {
  return { key: secretKey(secret, name), algorithm: 'HS256' }
}

type Jwk = JsonWebKey & { readonly alg?: string; readonly kid?: string }

/**
 * @param text PEM or JWK
 * @param name of the key, for error messages
 */
export function privateSigningKey(text: string, name: string): SigningKey {
  try {
    if (!text.trimStart().startsWith('{')) return keyFor(createPrivateKey(text), name)
    const jwk = JSON.parse(text) as Jwk
    const key =
      jwk.kty === 'oct'
        ? secretKey(Buffer.from(jwk.k ?? '', 'base64url'), name)
        : createPrivateKey({ key: jwk, format: 'jwk' })
    return { ...keyFor(key, name, jwk.alg), ...(jwk.kid !== undefined && { kid: jwk.kid }) }
  } catch (error) {
    if (error instanceof UnfitKeyError) throw error
    throw new Error(`${name}: expected a private key as PEM or JWK: ${messageOf(error)}`)
  }
}

class UnfitKeyError extends Error {}

function keyFor(key: KeyObject, name: string, wanted?: string): SigningKey {
  const able = key.type === 'public' ? [] : algorithmsOf(key)
  const algorithm = wanted ?? able[0]
  if (algorithm !== undefined && able.includes(algorithm)) return { key, algorithm }
  throw new UnfitKeyError(
    `${name}: expected a key of RSA (2048 bits or more), P-256, P-384, P-521 or Ed25519`,
  )
}
