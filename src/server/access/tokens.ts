import { createHash } from 'node:crypto'
import { decodeProtectedHeader, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose'
import { ProtocolError } from '../../protocol/codes.js'
import { Permissions } from '../../protocol/permissions.js'
import { tokenHasExpired } from '../../protocol/token.js'
import { lifetimeOf, unauthorized, VerifiedGrant } from './grant.js'
import { RevokedTokens } from './revoked-tokens.js'
import { type Key, type KeySources, Keys, type KeysOptions } from './token-keys.js'

/** The accepted tokens: JWTs (RFC 7519) signed with one of these keys. */
export interface AuthOptions extends KeySources {
  /** `aud` must include one of them. Without any, tokens with an audience are refused. */
  readonly audience?: readonly string[]
  /** `iss` must be one of them; default: any. */
  readonly issuer?: readonly string[]
  /** A file with the ids (`jti`) of revoked tokens, one per line. */
  readonly revokedFile?: string
}

/** Turns tokens into grants. */
export class Tokens {
  readonly #options: AuthOptions
  readonly #keys: Keys
  readonly #revoked: RevokedTokens | undefined
  readonly #setting: KeysOptions
  /** Verified tokens, because a client sends the same one with every request. */
  readonly #known = new Map<string, VerifiedGrant>()

  /** @throws Error when there is no key, or a key or the list of revoked tokens cannot be read */
  static async start(options: AuthOptions, setting: KeysOptions): Promise<Tokens> {
    const { revokedFile } = options
    const revoked = revokedFile === undefined ? undefined : await RevokedTokens.read(revokedFile, setting)
    try {
      return new Tokens(options, setting, { keys: await Keys.read(options, setting), revoked })
    } catch (error) {
      revoked?.close()
      throw error
    }
  }

  /**
   * Like `start`, without waiting: verification waits until the keys and the list of revoked tokens are read.
   *
   * @throws Error when there is no key, or one can never be valid
   */
  static begin(options: AuthOptions, setting: KeysOptions): Tokens {
    const { revokedFile } = options
    const keys = Keys.begin(options, setting)
    const revoked = revokedFile === undefined ? undefined : RevokedTokens.begin(revokedFile, setting)
    return new Tokens(options, setting, { keys, revoked })
  }

  private constructor(
    options: AuthOptions,
    setting: KeysOptions,
    { keys, revoked }: { readonly keys: Keys; readonly revoked: RevokedTokens | undefined },
  ) {
    this.#options = options
    this.#setting = setting
    this.#keys = keys
    this.#revoked = revoked
  }

  /** Calls `task` when grants may have lost their key or may have been revoked. */
  onWithdrawn(task: () => void): void {
    const forget = (): void => {
      this.#known.clear()
      task()
    }
    this.#keys.onChange(forget)
    this.#revoked?.onChange(forget)
  }

  close(): void {
    this.#keys.close()
    this.#revoked?.close()
  }

  /** @returns the grant, synchronously if it was verified before; rejects or throws with ProtocolError `unauthorized` */
  grantOf(token: string): VerifiedGrant | Promise<VerifiedGrant> {
    const { tokenLengthMax } = this.#setting.limits
    if (token.length > tokenLengthMax) {
      throw unauthorized(`The token is too long: expected at most ${tokenLengthMax} characters.`)
    }
    const known = this.#known.get(token)
    if (known !== undefined && known.reasonAgainst() === undefined) return known
    this.#known.delete(token)
    return this.#verified(token)
  }

  async #verified(token: string): Promise<VerifiedGrant> {
    const { alg, kid } = headerOf(token)
    const grant =
      (await this.#tryKeys(token, this.#keys.fitting(alg, kid))) ??
      // The issuer may have changed its key.
      ((await this.#keys.refresh()) ? await this.#tryKeys(token, this.#keys.fitting(alg, kid)) : undefined)
    if (this.#revoked !== undefined && !(await this.#revoked.isKnown()))
      throw new ProtocolError('unavailable', 'The list of revoked tokens cannot be read; try again later.')
    if (this.#keys.known === 0)
      throw new ProtocolError('unavailable', 'The keys for tokens cannot be read; try again later.')
    if (grant === undefined) throw unauthorized('The token is not signed with a key of this hub.')
    return grant.use(() => {
      this.#remember(token, grant)
      return grant
    })
  }

  async #tryKeys(token: string, keys: readonly Key[]): Promise<VerifiedGrant | undefined> {
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token, key.key, this.#expectations(key))
        return this.#granted(token, payload, key)
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw refusalOf(error)
      }
    }
    return undefined
  }

  #expectations({ algorithms }: Key): JWTVerifyOptions {
    const { audience, issuer } = this.#options
    const { clock, limits } = this.#setting
    return {
      algorithms: [...algorithms],
      clockTolerance: limits.tokenSkewMs / 1_000,
      currentDate: new Date(clock.now()),
      ...(audience && { audience: [...audience] }),
      ...(issuer && { issuer: [...issuer] }),
    }
  }

  #granted(token: string, payload: JWTPayload, { id: key }: Key): VerifiedGrant {
    const { limits, clock } = this.#setting
    const { exp, iss, sub, aud, jti } = payload
    if (aud !== undefined && this.#options.audience === undefined) {
      throw unauthorized('The token is meant for an audience (aud), and this hub has been given none.')
    }
    if (jti !== undefined && typeof jti !== 'string') throw unauthorized("The token's claim jti is no text.")
    const subscribe = patternsOf(payload, 'subscribe', limits.tokenPatternsMax)
    const publish = patternsOf(payload, 'publish', limits.tokenPatternsMax)
    const command = patternsOf(payload, 'command', limits.tokenPatternsMax)
    const expiresAt = exp === undefined ? undefined : exp * 1_000 + limits.tokenSkewMs
    const isOver = lifetimeOf(expiresAt, clock)
    const reasonAgainst = (): string | undefined => {
      if (isOver()) return tokenHasExpired
      if (!this.#keys.has(key)) return 'The key of the token has been withdrawn.'
      if (jti !== undefined && this.#revoked?.has(jti)) return 'The token has been revoked.'
      return undefined
    }
    return new VerifiedGrant({
      permissions: new Permissions({ subscribe, publish, command }),
      subject: sub,
      holder: JSON.stringify(sub === undefined ? { iss, subscribe, publish, command } : { iss, sub }),
      token: fingerprint(token),
      ...(expiresAt !== undefined && { expiresAt }),
      reasonAgainst,
    })
  }

  #remember(token: string, grant: VerifiedGrant): void {
    this.#known.set(token, grant)
    if (this.#known.size <= this.#setting.limits.tokensKnownMax) return
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest)
      return
    }
  }
}

/** @returns a digest that identifies a token without revealing it */
export function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}

function headerOf(token: string): { readonly alg: string | undefined; readonly kid: string | undefined } {
  try {
    const { alg, kid } = decodeProtectedHeader(token)
    return { alg, kid }
  } catch {
    // The message does not quote it, because it may contain a part of a secret.
    throw unauthorized('The token is no JWT.')
  }
}

function patternsOf(payload: JWTPayload, claim: string, patternsMax: number): readonly string[] {
  const value = payload[claim]
  if (value === undefined) return []
  if (!Array.isArray(value) || value.length > patternsMax || !value.every((one) => typeof one === 'string')) {
    throw unauthorized(`The token's claim ${claim} is no list of at most ${patternsMax} topic patterns.`)
  }
  return value
}

function refusalOf(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) {
    return error.code === 'unauthorized' ? error : unauthorized(`The token's claim ${error.message}.`)
  }
  if (error instanceof errors.JWTExpired) return unauthorized(tokenHasExpired)
  if (error instanceof errors.JWTClaimValidationFailed) {
    return unauthorized(
      claimTexts[error.claim] ?? `The token's claim ${error.claim} is not what is expected.`,
    )
  }
  return unauthorized('The token is no JWT that can be verified.')
}

const claimTexts: Readonly<Record<string, string>> = {
  nbf: 'The token is not valid yet.',
  aud: 'The token is meant for another audience (aud).',
  iss: 'The token is from another issuer (iss).',
}
