import { isArray, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Found, Seeker } from './found.js'

const names =
  'pass(?:word|wd|phrase)|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key'
/** A name of a secret, `=` or `:`, and the value: `DB_PASSWORD=…`, `"api_key": "…"`, `--token=…`. */
const assigned = new RegExp(
  `(?:${names})["'\\\\]{0,3}\\s{0,4}(?::=|[=:])\\s{0,4}["'\\\\]{0,3}([^\\s"'\\\\,;&<>(){}[\\]]{6,512})`,
  'gi',
)
const openAssigned = new RegExp(
  `(?:${names})["'\\\\]{0,3}\\s{0,4}(?::=|[=:])?\\s{0,4}["'\\\\]{0,3}[^\\s"'\\\\,;&<>(){}[\\]]{0,512}$`,
  'i',
)
const openLengthMax = 600
/** A mark, which has the form of a value named `secret`, that may go on. */
const openMark = /\[(?:s(?:e(?:c(?:r(?:e(?:t(?::[a-z0-9:-]*)?)?)?)?)?)?)?$/

/** Finds values whose names show that they are secret. Ordinary text may have the same form: `token: required`. */
export const namedValues: Seeker = {
  find(text) {
    const found: Found[] = []
    for (const match of text.matchAll(assigned)) {
      const [whole, value = ''] = match
      const to = match.index + whole.length
      found.push({ from: to - value.length, to, kind: 'named-value' })
    }
    return found
  },

  openFrom(text) {
    const start = Math.max(0, text.length - openLengthMax)
    const end = text.slice(start)
    const at = [end.search(openAssigned), end.search(openMark)].filter((one) => one >= 0)
    return at.length === 0 ? text.length : start + Math.min(...at)
  },
}

/** Fields of data whose text is secret as a whole, whatever its form, in lower case without `-` and `_`. */
const secretFields = new Map([
  ['authorization', 'authorization'],
  ['proxyauthorization', 'authorization'],
  ['cookie', 'cookie'],
  ['setcookie', 'cookie'],
  ['xapikey', 'api-key'],
  ['secretaccesskey', 'aws-secret'],
  ['awssecretaccesskey', 'aws-secret'],
])
const secretName = new RegExp(`^(?:[a-z0-9]*[_-])?(?:${names})$`, 'i')

/**
 * @param all whether to include names whose values are often, but not always, secret
 * @returns the kind of a field's secret text by the field's name; nothing for other names
 */
export function kindOfField(name: string, all: boolean): string | undefined {
  if (name.length < 5 || name.length > 40) return undefined
  if (mayBeSecret(name)) {
    const kind = secretFields.get(name.toLowerCase().replace(/[-_]/g, ''))
    if (kind !== undefined) return kind
  }
  return all && secretName.test(name) ? 'named-value' : undefined
}

/** Whether a value has a field whose text is secret whatever its form. */
export function hasSecretField(value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (isArray(value)) {
    for (const item of value) if (typeof item === 'object' && hasSecretField(item)) return true
    return false
  }
  const object: JsonObject = value
  for (const name in object) {
    const field = object[name] as JsonValue
    if (typeof field === 'object' ? hasSecretField(field) : kindOfField(name, false) !== undefined)
      return true
  }
  return false
}

/** Compares only the first letter, because each field is checked. */
function mayBeSecret(name: string): boolean {
  switch (name.charCodeAt(0) | 0x20) {
    case 0x61: // a
    case 0x63: // c
    case 0x70: // p
    case 0x73: // s
    case 0x78: // x
      return name.length === 6 || name.length >= 9
    default:
      return false
  }
}
