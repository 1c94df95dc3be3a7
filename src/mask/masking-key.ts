import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import type { Random } from '../lib/random.js'

/** Bytes. */
export const keyBytesMin = 32
const nonceBytes = 12
const tagBytes = 16
const sealedVersion = 1

/**
 * A secret that all hubs of a log have and the log does not. It encrypts what is held back of texts (AES-256-GCM), and keys
 * the hashes by which the hubs recognize a secret.
 */
export class MaskingKey {
  readonly #secret: string
  /** The key of hashes of secrets. */
  readonly marks: Buffer

  /** @throws TypeError if the secret is too short */
  constructor(secret: string) {
    if (Buffer.byteLength(secret) < keyBytesMin)
      throw new TypeError(`masking.key: expected at least ${keyBytesMin} bytes, as of a random secret`)
    this.#secret = secret
    this.marks = this.#derived('marks')
  }

  /** Two keys have the same id only if they are the same. */
  get id(): string {
    return this.#derived('id').toString('base64url').slice(0, 16)
  }

  #derived(purpose: string): Buffer {
    return createHmac('sha256', this.#secret).update(purpose).digest()
  }

  /** @param epoch of the session: each has a key of its own */
  seal(bytes: Uint8Array, epoch: string, random: Random): Uint8Array {
    if (bytes.length === 0) return bytes
    // Sixteen of 64 characters.
    const nonce = Buffer.from(random.id(16), 'base64url')
    const cipher = createCipheriv('aes-256-gcm', this.#derived(`held ${epoch}`), nonce)
    const sealed = [cipher.update(bytes), cipher.final()]
    return Buffer.concat([Buffer.of(sealedVersion), nonce, cipher.getAuthTag(), ...sealed])
  }

  /** @returns nothing if another key has sealed it */
  open(bytes: Uint8Array, epoch: string): Uint8Array | undefined {
    const sealed = Buffer.from(bytes)
    const text = 1 + nonceBytes + tagBytes
    try {
      const decipher = createDecipheriv(
        'aes-256-gcm',
        this.#derived(`held ${epoch}`),
        sealed.subarray(1, 1 + nonceBytes),
      )
      decipher.setAuthTag(sealed.subarray(1 + nonceBytes, text))
      return Buffer.concat([decipher.update(sealed.subarray(text)), decipher.final()])
    } catch {
      return undefined
    }
  }
}

/** Whether bytes were sealed; what hubs without a key keep begins with another byte. */
export function isSealed(bytes: Uint8Array): boolean {
  return bytes[0] === sealedVersion
}
