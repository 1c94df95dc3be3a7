import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { calculateJwkThumbprint } from 'jose'
import type { Clock, Timer } from '../../lib/clock.js'
import { isObject } from '../../lib/json.js'
import type { Limits } from '../../protocol/limits.js'
import { readUpTo } from './read-up-to.js'

/** The sources of keys for tokens; several of each kind, so that keys can be rotated. */
export interface KeySources {
  /** Shared secrets (HS256) of at least 32 bytes. */
  readonly secrets?: readonly (string | Uint8Array)[]
  /** Files with a shared secret; surrounding white space is ignored. */
  readonly secretFiles?: readonly string[]
  /** Files with a public key (PEM, certificate or JWK) or a JWK set (RFC 7517). */
  readonly keyFiles?: readonly string[]
  /** `https` URL of a JWK set; `http` only on loopback. */
  readonly jwksUrl?: string
}

/** A key, and the algorithms that it may verify. The algorithm in a token never leads to another use of a key. */
export interface Key {
  /** Its thumbprint (RFC 7638). */
  readonly id: string
  /** The issuer's id of the key. */
  readonly kid?: string
  readonly algorithms: readonly string[]
  readonly key: KeyObject
}

/** RFC 7518 section 3.2: at least as long as the hash. Bytes. */
const secretBytesMin = 32
/** RFC 7518 section 3.3. Bits. */
const rsaBitsMin = 2_048

const rsaAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const curveAlgorithms: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['ES256'],
  secp384r1: ['ES384'],
  secp521r1: ['ES512'],
}

/** @returns the algorithms of the key; empty if it is not for signatures, or too weak */
export function algorithmsOf({
  type,
  asymmetricKeyType,
  asymmetricKeyDetails,
}: KeyObject): readonly string[] {
  if (type === 'secret') return ['HS256']
  switch (asymmetricKeyType) {
    case 'rsa':
      return (asymmetricKeyDetails?.modulusLength ?? 0) >= rsaBitsMin ? rsaAlgorithms : []
    case 'ec':
      return curveAlgorithms[asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    case 'ed25519':
      return ['EdDSA', 'Ed25519']
    default:
      return []
  }
}

/** @throws Error when it is too short */
export function secretKey(secret: string | Uint8Array, name: string): KeyObject {
  const bytes = typeof secret === 'string' ? Buffer.from(secret.trim()) : Buffer.from(secret)
  if (bytes.length < secretBytesMin) {
    throw new Error(`${name}: expected a secret of at least ${secretBytesMin} bytes, got ${bytes.length}`)
  }
  return createSecretKey(bytes)
}

interface Jwk extends JsonWebKey {
  readonly kid?: unknown
  readonly alg?: unknown
  readonly use?: unknown
}

/** @returns the key; undefined if it cannot verify signatures */
async function keyOf(key: KeyObject, { kid, alg, use }: Jwk = {}): Promise<Key | undefined> {
  const able = algorithmsOf(key)
  const algorithms = alg === undefined ? able : able.filter((name) => name === alg)
  if (algorithms.length === 0 || (use !== undefined && use !== 'sig')) return undefined
  const id = await calculateJwkThumbprint(key.export({ format: 'jwk' }))
  return { id, algorithms, key, ...(typeof kid === 'string' && { kid }) }
}

/** @returns the keys of a set or of a single JWK; keys of an unknown kind are ignored */
async function keysOfJson(value: unknown, name: string, secrets: 'allowed' | 'ignored'): Promise<Key[]> {
  const keys = isObject(value) && Array.isArray(value['keys']) ? (value['keys'] as unknown[]) : [value]
  const found: Key[] = []
  for (const jwk of keys) {
    const key = isObject(jwk) ? importJwk(jwk, name, secrets) : undefined
    const usable = key && (await keyOf(key, jwk as Jwk))
    if (usable !== undefined) found.push(usable)
  }
  return found
}

/** A published secret is not secret, so it is ignored. */
function importJwk(jwk: Jwk, name: string, secrets: 'allowed' | 'ignored'): KeyObject | undefined {
  if (jwk.kty === 'oct') {
    return secrets === 'allowed' ? secretKey(Buffer.from(jwk.k ?? '', 'base64url'), name) : undefined
  }
  try {
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    // Node does not know this kind of key, so it cannot verify tokens with it.
    return undefined
  }
}

/** @throws Error that names the file */
async function keysOfFile(file: string, { keysBytesMax }: Limits): Promise<Key[]> {
  const text = await readText(file, keysBytesMax)
  let keys: Key[]
  try {
    if (text.trimStart().startsWith('{')) keys = await keysOfJson(JSON.parse(text), file, 'allowed')
    else keys = [await keyOf(createPublicKey(text))].filter((key) => key !== undefined)
  } catch (error) {
    throw new Error(`${file}: expected a public key as PEM or JWK, or a JWK set: ${messageOf(error)}`)
  }
  if (keys.length === 0) {
    throw new Error(
      `${file}: expected a key for signatures: RSA of ${rsaBitsMin} bits or more, P-256, P-384, P-521, Ed25519, or oct of ${secretBytesMin} bytes or more`,
    )
  }
  return keys
}

/** @throws Error that names the file */
export async function readText(file: string, bytesMax: number): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new Error(`${file}: cannot be read: ${messageOf(error)}`)
  })
  if (bytes.length > bytesMax)
    throw new Error(`${file}: expected at most ${bytesMax} bytes, got ${bytes.length}`)
  return bytes.toString('utf8')
}

/** @throws Error that names the URL */
async function keysOfUrl(url: string, { keysBytesMax, keysFetchMs }: Limits): Promise<Key[]> {
  try {
    const signal = AbortSignal.timeout(keysFetchMs)
    const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    const keys = await keysOfJson(JSON.parse(await readUpTo(response, keysBytesMax)), url, 'ignored')
    if (keys.length === 0) throw new Error('the set has no public key for signatures')
    return keys
  } catch (error) {
    throw new Error(`${url}: expected a JWK set: ${messageOf(error)}`)
  }
}

/** @throws Error when the URL would not protect the answer from modification */
export function expectSafe(url: string): void {
  const { protocol, hostname } = new URL(url)
  if (protocol === 'https:') return
  if (protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)) return
  throw new Error(`${url}: expected an https URL, because its answer decides who may do what`)
}

export interface KeysOptions {
  readonly clock: Clock
  readonly limits: Limits
  /** Called when reading keys again fails; the previous ones stay in force. */
  readonly report: (error: unknown) => void
}

/** The minimum time between two reads because of unknown `kid`s. Milliseconds. */
const cooldownMs = 10_000

/** The keys in force. They are read again at intervals, and when a token names an unknown key. */
export class Keys {
  readonly #sources: KeySources
  readonly #options: KeysOptions
  #keys: readonly Key[] = []
  #readAt = Number.NEGATIVE_INFINITY
  #reading: Promise<void> | undefined
  #timer: Timer | undefined
  #changed: () => void = () => {}

  /** @throws Error when a source cannot be read or has no key */
  static async read(sources: KeySources, options: KeysOptions): Promise<Keys> {
    if (sources.jwksUrl !== undefined) expectSafe(sources.jwksUrl)
    const keys = new Keys(sources, options)
    await keys.#read()
    if (keys.known === 0) throw noKey()
    keys.#readAgainLater()
    return keys
  }

  /**
   * Begins to read without waiting; until then there are no keys. Errors are reported, and reading is tried again.
   *
   * @throws Error when there is no source, or one can never be valid
   */
  static begin(sources: KeySources, options: KeysOptions): Keys {
    const { secrets = [], secretFiles = [], keyFiles = [], jwksUrl } = sources
    if (jwksUrl !== undefined) expectSafe(jwksUrl)
    else if (secrets.length + secretFiles.length + keyFiles.length === 0) throw noKey()
    for (const secret of secrets) secretKey(secret, 'secret')
    const keys = new Keys(sources, options)
    void keys.#readAgain()
    keys.#readAgainLater()
    return keys
  }

  private constructor(sources: KeySources, options: KeysOptions) {
    this.#sources = sources
    this.#options = options
  }

  /** Calls `task` whenever the keys in force change. */
  onChange(task: () => void): void {
    this.#changed = task
  }

  /** The number of keys. */
  get known(): number {
    return this.#keys.length
  }

  has(id: string): boolean {
    return this.#keys.some((key) => key.id === id)
  }

  /** @returns the keys that may have signed a token with this header; keys without a `kid` match any */
  fitting(algorithm: string | undefined, kid: string | undefined): readonly Key[] {
    return this.#keys.filter(
      (key) =>
        key.algorithms.some((name) => name === algorithm) &&
        (kid === undefined || key.kid === undefined || key.kid === kid),
    )
  }

  /** Reads the keys again, unless that was done recently. @returns whether they were read */
  async refresh(): Promise<boolean> {
    const reading = this.#reading !== undefined
    if (!reading && this.#options.clock.elapsed() - this.#readAt < cooldownMs) return false
    await this.#readAgain()
    return true
  }

  close(): void {
    this.#timer?.cancel()
  }

  #readAgainLater(): void {
    this.#timer = this.#options.clock.after(this.#options.limits.keysMs, () => {
      void this.#readAgain().then(() => this.#readAgainLater())
    })
  }

  /** Concurrent calls share one read. */
  #readAgain(): Promise<void> {
    this.#reading ??= this.#read()
      .catch((error: unknown) => this.#options.report(error))
      .finally(() => {
        this.#reading = undefined
      })
    return this.#reading
  }

  async #read(): Promise<void> {
    const { limits, clock } = this.#options
    const { secrets = [], secretFiles = [], keyFiles = [], jwksUrl } = this.#sources
    this.#readAt = clock.elapsed()
    const texts = await Promise.all(secretFiles.map((file) => readText(file, limits.keysBytesMax)))
    const found = await Promise.all([
      ...secrets.map((secret) => keyOf(secretKey(secret, 'secret'))),
      ...texts.map((text, at) => keyOf(secretKey(text, secretFiles[at] ?? ''))),
      ...keyFiles.map((file) => keysOfFile(file, limits)),
      ...(jwksUrl === undefined ? [] : [keysOfUrl(jwksUrl, limits)]),
    ])
    const keys = found.flat().filter((key) => key !== undefined)
    if (keys.length > limits.keysMax) {
      throw new Error(`expected at most ${limits.keysMax} keys for tokens, got ${keys.length}`)
    }
    const before = this.#keys
    this.#keys = keys
    if (!before.every(({ id }) => this.has(id))) this.#changed()
  }
}

function noKey(): Error {
  return new Error('expected at least one key for tokens')
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
