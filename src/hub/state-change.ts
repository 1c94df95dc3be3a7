import type { JsonValue } from '../lib/json.js'
import { checkFields } from '../protocol/check.js'
import { ProtocolError } from '../protocol/codes.js'
import type { PatchOperation } from '../protocol/frames.js'
import type { Intent } from '../session/session-setting.js'
import { CheckedEdit, CheckedValue } from '../state/checked-change.js'

/** A change of a slice: set, patch, merge or remove. */
export type StateChange =
  | { readonly value: JsonValue }
  | CheckedValue
  | CheckedEdit
  | { readonly patch: readonly PatchOperation[] }
  | { readonly merge: JsonValue }
  | { readonly removed: true }

/** @returns what makes the change @throws ProtocolError `badFrame` unless it is one change */
export function makerOf(slice: string, change: StateChange): Intent['make'] {
  if (change instanceof CheckedValue) return (state, moment) => state.set(slice, change.value, moment, change)
  if (change instanceof CheckedEdit) {
    const { before, after } = change
    const again = makerOf(slice, change.edit)
    return (state, moment) =>
      state.get(slice) === before ? state.set(slice, after.value, moment, after) : again(state, moment)
  }
  expectOne(change)
  if ('value' in change) return (state, moment) => state.set(slice, change.value, moment)
  if ('patch' in change) return (state, moment) => state.patch(slice, change.patch, moment)
  if ('merge' in change) return (state, moment) => state.merge(slice, change.merge, moment)
  return (state, moment) => state.remove(slice, moment)
}

function expectOne(change: StateChange): void {
  checkFields(change, ['value', 'patch', 'merge', 'removed'], 'change')
  const names = Object.keys(change)
  if (names.length === 1 && (!('removed' in change) || change.removed)) return
  throw new ProtocolError(
    'badFrame',
    `change: expected one of value, patch, merge, or removed: true, got ${names.join(', ') || 'nothing'}`,
  )
}
