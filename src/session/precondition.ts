import { isObject } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Epoch, Offset, Position } from '../protocol/cursor.js'
import type { Cause, Slices } from '../protocol/frames.js'
import type { OwnTopic } from './topic.js'

export interface StateOptions {
  /** The cause of the change. */
  readonly cause?: Cause
  /** Makes the change only if the slice has not changed since, or with `absent`, only if it exists. */
  readonly unless?: { readonly changedSince: Position } | { readonly absent: true }
}

export interface StateResult {
  readonly epoch: Epoch
  /** The offset of the change; if the value was already the same, of the slice's last change. */
  readonly offset: Offset
  readonly changed: boolean
}

export interface StateSnapshot {
  readonly epoch: Epoch
  /** The session's newest offset. */
  readonly offset: Offset
  /** The offset of the newest change of the topic's state. */
  readonly version: Offset
  readonly slices: Slices
}

/** @throws ProtocolError `preconditionFailed` when the change must not be made, `badFrame` when it is not a precondition */
export function checkUnless(
  { state, timeline }: OwnTopic,
  slice: string,
  unless: NonNullable<StateOptions['unless']>,
): void {
  const isPrecondition = isObject(unless) && ('absent' in unless || isObject(unless.changedSince))
  if (!isPrecondition) {
    throw new ProtocolError(
      'badFrame',
      `unless: expected { changedSince: { epoch, offset } } or { absent: true }, got ${quote(unless)}`,
    )
  }
  if ('absent' in unless) {
    if (state.get(slice) !== undefined) return
    throw new ProtocolError('preconditionFailed', `there is no slice ${slice}`)
  }
  const { epoch, offset } = unless.changedSince
  const changedAt = state.changedAt(slice)
  if (epoch === timeline.epoch && changedAt <= offset) return
  throw new ProtocolError(
    'preconditionFailed',
    `slice ${slice} changed at ${timeline.epoch}:${changedAt}, after ${epoch}:${offset}`,
  )
}
