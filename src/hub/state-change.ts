import type { JsonValue } from '../lib/json.js'
import type { PatchOperation } from '../protocol/frames.js'
import type { Intent } from '../session/session-setting.js'

/** A change of a slice: set, patch, merge or remove. */
export type StateChange =
  | { readonly value: JsonValue }
  | { readonly patch: readonly PatchOperation[] }
  | { readonly merge: JsonValue }
  | { readonly removed: true }

/** @returns what makes the change */
export function makerOf(slice: string, change: StateChange): Intent['make'] {
  if ('value' in change) return (state, moment) => state.set(slice, change.value, moment)
  if ('patch' in change) return (state, moment) => state.patch(slice, change.patch, moment)
  if ('merge' in change) return (state, moment) => state.merge(slice, change.merge, moment)
  return (state, moment) => state.remove(slice, moment)
}
