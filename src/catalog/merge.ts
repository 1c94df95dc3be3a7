import { isArray, type JsonValue } from '../lib/json.js'

/** Which events may be joined: those whose `data` differ only in one text. */
export interface Merge {
  /** The field of `data` with the text, or a path such as `delta.text`; of several, the first at which there is a text. */
  readonly text: string | readonly string[]
  /** Fields of `data` that may differ as well; the last event's are kept. */
  readonly ignore?: readonly string[]
}

/** Where the text of an event is. */
export interface MergeText {
  readonly path: readonly string[]
  readonly text: string
}

const paths = new WeakMap<Merge, readonly (readonly string[])[]>()

/** @returns the text of `data` and its path; undefined if there is none */
export function mergeTextOf(merge: Merge, data: JsonValue): MergeText | undefined {
  for (const path of pathsOf(merge)) {
    const text = valueAt(data, path)
    if (typeof text === 'string') return { path, text }
  }
  return undefined
}

/** @returns `data` with another text at that path; containers on the path are copied, the rest is shared */
export function withTextAt(data: JsonValue, path: readonly string[], text: string): JsonValue {
  const [name, ...rest] = path
  if (name === undefined) return text
  const inner = (value: JsonValue): JsonValue => withTextAt(value, rest, text)
  if (isArray(data)) return data.map((item, at) => (String(at) === name ? inner(item) : item))
  const object = data as { readonly [name: string]: JsonValue }
  return { ...object, [name]: inner(object[name] as JsonValue) }
}

/** A field whose name contains a dot takes precedence over the path of the same name. */
function pathsOf(merge: Merge): readonly (readonly string[])[] {
  let found = paths.get(merge)
  if (found === undefined) {
    const named = typeof merge.text === 'string' ? [merge.text] : merge.text
    found = named.flatMap((name) => (name.includes('.') ? [[name], name.split('.')] : [[name]]))
    paths.set(merge, found)
  }
  return found
}

function valueAt(data: JsonValue, path: readonly string[]): JsonValue | undefined {
  let value: JsonValue | undefined = data
  for (const name of path) {
    if (typeof value !== 'object' || value === null) return undefined
    if (isArray(value)) value = /^\d{1,4}$/.test(name) ? value[Number(name)] : undefined
    else value = Object.hasOwn(value, name) ? value[name] : undefined
  }
  return value
}
