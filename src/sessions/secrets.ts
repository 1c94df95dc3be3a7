import { wellFormed } from '../lib/text.js'
import type { Masking } from '../mask/masking.js'
import { kindPattern } from '../mask/patterns.js'
import {
  type KeptValue,
  type SecretValue,
  Values,
  valueLengthMax,
  valueLengthMin,
  valuesMax,
} from '../mask/values.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Session } from '../session/session.js'

/** A value to mask, and the name in its marks: `value` by default. */
export type GivenSecret = string | { readonly value: string; readonly kind?: string }

/**
 * @returns the values, after checking all of them
 * @throws ProtocolError `badFrame` with the index in `values`, without the value; `conflict` if masking is off
 */
export function checkedSecrets(given: unknown, masking: Masking | undefined): readonly SecretValue[] {
  const values = secretsIn(given, valuesMax)
  if (masking === undefined) {
    throw new ProtocolError('conflict', 'this hub masks nothing: start it with --masking shapes or all')
  }
  return values
}

/**
 * @param max of values
 * @throws ProtocolError `badFrame` as `checkedSecrets` does
 */
export function secretsIn(given: unknown, max: number): readonly SecretValue[] {
  if (!Array.isArray(given) || given.length === 0 || given.length > max)
    throw new ProtocolError('badFrame', `values: expected a list of 1–${max} secrets`, { pointer: '/values' })
  return given.map((one: unknown, index) => checkedSecret(one, `/values/${index}`))
}

function checkedSecret(given: unknown, pointer: string): SecretValue {
  const {
    value,
    kind = 'value',
    ...others
  } = (typeof given === 'object' && given !== null ? given : { value: given }) as Readonly<
    Record<string, unknown>
  >
  const [stranger] = Object.keys(others)
  if (stranger !== undefined) {
    throw new ProtocolError('badFrame', `expected no field but value and kind, got ${quote(stranger)}`, {
      pointer,
    })
  }
  const isValue =
    typeof value === 'string' && value.length >= valueLengthMin && value.length <= valueLengthMax
  if (!isValue) {
    throw new ProtocolError(
      'badFrame',
      `value: expected a text of ${valueLengthMin}–${valueLengthMax} characters`,
      {
        pointer,
      },
    )
  }
  if (typeof kind !== 'string' || !kindPattern.test(kind)) {
    throw new ProtocolError('badFrame', 'kind: expected 1–32 of a–z, 0–9 and -, a letter first', {
      pointer: `${pointer}/kind`,
    })
  }
  return { kind, value: wellFormed(value) }
}

/**
 * @returns the hashes that recognize the values in a session, without their text
 * @throws ProtocolError `conflict` if the session would have too many
 */
export function hashedSecrets(values: readonly SecretValue[], session: Session): readonly KeptValue[] {
  if ((session.masks?.values?.size ?? 0) + values.length > valuesMax)
    throw new ProtocolError('conflict', `a session has at most ${valuesMax} registered secrets`)
  const hashing = new Values(session.masks?.key ?? session.epoch)
  return values.flatMap((value) => hashing.hashed(value))
}

/** The session masks the values from now on. @throws ProtocolError as `hashedSecrets` does */
export function learnSecrets(values: readonly SecretValue[], session: Session): void {
  session.knowSecrets(hashedSecrets(values, session))
}
