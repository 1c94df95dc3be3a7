import { ProtocolError } from '../protocol/codes.js'
import type { Epoch, Offset, Position } from '../protocol/cursor.js'
import type { Cause, Slices } from '../protocol/frames.js'
import type { OwnTopic } from './topic.js'

export interface StateOptions {
  /** What led to the change. */
  readonly cause?: Cause
  /** Only if the slice has not changed since, or with `absent`, only if there is one. */
  readonly unless?: { readonly changedSince: Position } | { readonly absent: true }
}

export interface StateResult {
  readonly epoch: Epoch
  /** Of the change; where there was nothing to change, of the slice's last one. */
  readonly offset: Offset
  readonly changed: boolean
}

export interface StateSnapshot {
  readonly epoch: Epoch
  /** The session's newest offset. */
  readonly offset: Offset
  /** The offset of the newest change of the topic's state: the same as long as nothing has changed. */
  readonly version: Offset
  readonly slices: Slices
}

/** @throws ProtocolError `preconditionFailed`: nothing may change */
export function checkUnless(
  { state, timeline }: OwnTopic,
  slice: string,
  unless: NonNullable<StateOptions['unless']>,
): void {
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
