import { decodeProtectedHeader, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose'
import { ProtocolError } from '../../protocol/codes.js'
import { Permissions } from '../../protocol/permissions.js'
import type { VerifiedGrant } from './grant.js'
import { type Key, type KeySources, Keys, type KeysOptions } from './token-keys.js'

/** Which tokens are good: JWTs (RFC 7519) signed with one of these keys. */
export interface AuthOptions extends KeySources {
  /** `aud` must name one of them. Without any, a token that has an audience is meant for somebody else. */
  readonly audience?: readonly string[]
  /** `iss` must be one of them; any unless given. */
  readonly issuer?: readonly string[]
}

/** Turns tokens into grants. */
export class Tokens {
  readonly #options: AuthOptions
  readonly #keys: Keys
  readonly #setting: KeysOptions
  /** Tokens that have been verified: a client sends the same one with every request. */
  readonly #known = new Map<string, VerifiedGrant>()

  /** @throws Error when there is no key, or one cannot be read */
  static async start(options: AuthOptions, setting: KeysOptions): Promise<Tokens> {
    return new Tokens(options, setting, await Keys.read(options, setting))
  }

  /**
   * As `start`, for whoever cannot wait: until the keys are read, tokens wait for them.
   *
   * @throws Error when there is no key, or one can never be right
   */
  static begin(options: AuthOptions, setting: KeysOptions): Tokens {
    return new Tokens(options, setting, Keys.begin(options, setting))
  }

  private constructor(options: AuthOptions, setting: KeysOptions, keys: Keys) {
    this.#options = options
    this.#setting = setting
    this.#keys = keys
  }

  /** Calls `task` when grants that were given may have lost their key. */
  onWithdrawn(task: () => void): void {
    this.#keys.onChange(() => {
      this.#known.clear()
      task()
    })
  }

  close(): void {
    this.#keys.close()
  }

  /** @returns at once what has been verified before; rejects or throws with ProtocolError `unauthorized` */
  grantOf(token: string): VerifiedGrant | Promise<VerifiedGrant> {
    const { tokenLengthMax } = this.#setting.limits
    if (token.length > tokenLengthMax) {
      throw unauthorized(`The token is too long: expected at most ${tokenLengthMax} characters.`)
    }
    const known = this.#known.get(token)
    if (known !== undefined && this.reasonAgainst(known) === undefined) return known
    this.#known.delete(token)
    return this.#verified(token)
  }

  /** @returns why a grant that was given is not good any more; nothing while it is */
  reasonAgainst({ expiresAt, key }: VerifiedGrant): string | undefined {
    if (expiresAt !== undefined && expiresAt <= this.#setting.clock.now()) return hasExpired
    if (key !== undefined && !this.#keys.has(key)) return 'The key of the token has been withdrawn.'
    return undefined
  }

  async #verified(token: string): Promise<VerifiedGrant> {
    const { alg, kid } = headerOf(token)
    const grant =
      (await this.#tryKeys(token, this.#keys.fitting(alg, kid))) ??
      // An issuer that has changed its key signs with one that is not known yet.
      ((await this.#keys.refresh()) ? await this.#tryKeys(token, this.#keys.fitting(alg, kid)) : undefined)
    if (this.#keys.known === 0)
      throw new ProtocolError('unavailable', 'The keys for tokens cannot be read; come back later.')
    if (grant === undefined) throw unauthorized('The token is not signed with a key of this hub.')
    const reason = this.reasonAgainst(grant)
    if (reason !== undefined) throw unauthorized(reason)
    this.#remember(token, grant)
    return grant
  }

  async #tryKeys(token: string, keys: readonly Key[]): Promise<VerifiedGrant | undefined> {
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token, key.key, this.#expectations(key))
        return this.#granted(payload, key)
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

  #granted(payload: JWTPayload, { id }: Key): VerifiedGrant {
    const { limits } = this.#setting
    const { exp, iss, sub, aud } = payload
    if (aud !== undefined && this.#options.audience === undefined) {
      throw unauthorized('The token is meant for an audience (aud), and this hub has been given none.')
    }
    const subscribe = patternsOf(payload, 'subscribe', limits.tokenPatternsMax)
    const publish = patternsOf(payload, 'publish', limits.tokenPatternsMax)
    const command = patternsOf(payload, 'command', limits.tokenPatternsMax)
    return {
      permissions: new Permissions({ subscribe, publish, command }),
      holder: JSON.stringify(sub === undefined ? { iss, subscribe, publish, command } : { iss, sub }),
      key: id,
      ...(exp !== undefined && { expiresAt: exp * 1_000 + limits.tokenSkewMs }),
    }
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

const hasExpired = 'The token has expired.'

export function unauthorized(text: string): ProtocolError {
  return new ProtocolError('unauthorized', text)
}

function headerOf(token: string): { readonly alg: string | undefined; readonly kid: string | undefined } {
  try {
    const { alg, kid } = decodeProtectedHeader(token)
    return { alg, kid }
  } catch {
    // What it says is not repeated: it may be half a secret.
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
  if (error instanceof errors.JWTExpired) return unauthorized(hasExpired)
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
