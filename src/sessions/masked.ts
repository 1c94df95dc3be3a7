import { type JsonObject, measure } from '../lib/json.js'
import type { StreamMessage } from '../log/entries.js'
import type { MaskedSession, Masking } from '../mask/masking.js'
import type { Cause, NewEvent } from '../protocol/frames.js'
import type { EndOptions } from '../session/session-setting.js'
import type { Mask } from '../state/topic-state.js'

/** @returns a function that masks values of a session; nothing if masking is off */
export function maskOf(masking: Masking | undefined, session: MaskedSession): Mask | undefined {
  return (
    masking &&
    ((value, before, isPlain) =>
      isPlain === true && masking.seeksOnlyShapesIn(session) ? value : masking.value(value, session, before))
  )
}

export function maskedCause(cause: Cause, mask: Mask | undefined): Cause {
  return cause.payload === undefined || mask === undefined
    ? cause
    : { ...cause, payload: mask(cause.payload, undefined) }
}

export function maskedConfiguration<C extends { readonly metadata?: JsonObject | undefined }>(
  changed: C,
  mask: Mask | undefined,
): C {
  const { metadata } = changed
  if (metadata === undefined || mask === undefined) return changed
  return { ...changed, metadata: mask(metadata, undefined) as JsonObject }
}

/** @returns the outcome and the reason of a session's end, masked */
export function maskedEnding(ending: EndOptions, mask: Mask | undefined): EndOptions {
  if (mask === undefined) return ending
  const { outcome, reason } = ending
  return {
    ...ending,
    ...(outcome !== undefined && { outcome: mask(outcome, undefined) }),
    ...(reason !== undefined && { reason: mask(reason, undefined) as string }),
  }
}

/** @returns a message of a durable stream, masked; bytes stay as they are */
export function maskedMessage(
  message: StreamMessage,
  masking: Masking | undefined,
  session: MaskedSession,
): StreamMessage {
  const { event, bytes } = message
  if (masking === undefined || event.type === 'stream.bytes') return message
  const data = masking.value(event.data ?? null, session)
  if (data === event.data) return message
  const masked = { ...event, data }
  return { event: masked, bytes: bytes + growthOf(event, masked) }
}

/** @returns about the number of bytes that masking adds to an event */
export function growthOf(event: NewEvent, masked: NewEvent): number {
  if (masked === event) return 0
  const bytesOf = ({ data = null }: NewEvent): number => measure(data, Number.POSITIVE_INFINITY)
  return bytesOf(masked) - Math.max(0, bytesOf(event))
}
