import { withTextAt } from '../../catalog/merge.js'
import type { Traits } from '../../catalog/traits.js'
import { isArray, type JsonObject, type JsonValue } from '../../lib/json.js'
import type { Attempt } from '../../protocol/frames.js'

/** The fields of an event that show to which text it belongs. */
interface Piece {
  readonly worker: string | undefined
  readonly type: string
  readonly key: string | undefined
  readonly attempt: Attempt | undefined
  readonly data: JsonValue
}

/** @returns the key of a text: the publisher, and everything that all pieces of one text have in common */
export function textStreamOf(
  { worker, type, key, attempt, data }: Piece,
  path: readonly string[],
  { merge }: Traits,
): string {
  const common = withTextAt(data, path, '')
  const { ignore = [] } = merge ?? {}
  const parts = ignore.length === 0 ? common : withoutFields(common, ignore)
  return JSON.stringify([worker, type, key, attempt?.step, attempt?.number, parts])
}

function withoutFields(data: JsonValue, names: readonly string[]): JsonValue {
  if (typeof data !== 'object' || data === null || isArray(data)) return data
  return Object.fromEntries(Object.entries(data).filter(([name]) => !names.includes(name)))
}

/** Whether the text is all that an event has. */
export function isTextAlone(data: JsonValue, path: readonly string[]): boolean {
  if (path.length > 1) return false
  let fields = 0
  for (const _ in data as JsonObject) if (++fields > 1) return false
  return true
}
