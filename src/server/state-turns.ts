import type { StateChange } from '../hub/state-change.js'
import { isCanonical, type JsonValue } from '../lib/json.js'
import { hasSecretField } from '../mask/named-values.js'
import { isPlainJson } from '../mask/plain-json.js'
import { ProtocolError } from '../protocol/codes.js'
import type { TopicName } from '../protocol/topic.js'
import { applyMerge, applyPatch, levelsInPatch } from '../state/apply.js'
import { CheckedEdit, CheckedValue, type Checking, type Edit } from '../state/checked-change.js'
import type { AccessContext, HubContext } from './context.js'
import { largeBytes, turnFor } from './http/body.js'

/** A large change of state that is about to be made. */
interface Given {
  readonly topic: TopicName
  readonly slice: string
  readonly change: Exclude<StateChange, CheckedValue | CheckedEdit | { readonly removed: true }>
  /** The number of bytes that it came in. */
  readonly bytes: number
  /** The JSON text, if it came as JSON. */
  readonly json?: Buffer
}

/**
 * Does in turns of their own whatever takes long about a large change: checks, applying a patch, the comparison. It is done again
 * in the turn of the change only where another one comes first. Whatever is not as it should be is left to that turn as well,
 * so that errors are the same for small changes and large ones.
 */
export async function inTurns(
  context: HubContext & Pick<AccessContext, 'workTurns'>,
  sender: string,
  { topic, slice, change, bytes, json }: Given,
): Promise<StateChange> {
  if (bytes < largeBytes) return change
  const { hub, limits } = context
  const turn = () => turnFor(context, sender, bytes)
  // The names in the paths of a patch may be escaped.
  const isPlainText = (): boolean =>
    json !== undefined &&
    hub.seeksOnlyShapes &&
    isPlainJson(json) &&
    !('patch' in change && json.includes('~'))
  const before = hub.heldValue(topic, slice)
  const checking = {
    limits,
    before,
    isPlain: (value: JsonValue) => isPlainText() && !hasSecretField(value),
    turn,
  }
  const checked =
    'value' in change ? await CheckedValue.of(change.value, checking) : await checkedEdit(change, checking)
  await turn()
  return checked ?? change
}

/** @returns undefined if there is nothing to edit, or the edit does not fit */
async function checkedEdit(edit: Edit, checking: Checking): Promise<CheckedEdit | undefined> {
  const { limits, before, turn } = checking
  if (before === undefined || !isCanonicalEdit(edit, limits)) return undefined
  await turn()
  const made = madeBy(edit, before, limits)
  if (made === undefined) return undefined
  await turn()
  const after = await CheckedValue.of(made, checking)
  return after && new CheckedEdit(edit, before, after)
}

function isCanonicalEdit(edit: Edit, { depthMax, namesMax }: HubContext['limits']): boolean {
  return 'patch' in edit
    ? isCanonical(edit.patch, depthMax + levelsInPatch, undefined, namesMax)
    : isCanonical(edit.merge, depthMax, undefined, namesMax)
}

/** @returns undefined if the edit does not fit the value */
function madeBy(edit: Edit, before: JsonValue, limits: HubContext['limits']): JsonValue | undefined {
  try {
    return 'patch' in edit ? applyPatch(before, edit.patch, limits) : applyMerge(before, edit.merge)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}
