import { endOf, followsWord, kinds } from './characters.js'
import { type Reading, type Shape, valueAt } from './shape.js'

const schemes = /(?:bearer|basic|token|apikey|negotiate|key)\s+/iy
const credentialMax = 8_192

/** `Authorization: Bearer …` (RFC 9110, section 11.6.2), in a header, in JSON or in the arguments of a command. */
export const authorization: Shape = {
  kind: 'authorization',
  anchors: ['Authorization', 'authorization', 'AUTHORIZATION'],
  read(text, at, anchor) {
    const from = valueAt(text, at + anchor.length)
    return from === undefined ? undefined : credential(text, from)
  },
}

/** @returns the credential in a header's value, without the scheme */
export function credential(text: string, at: number): Reading | undefined {
  schemes.lastIndex = at
  const scheme = schemes.exec(text)?.[0] ?? ''
  const from = at + scheme.length
  const to = endOf(text, from, kinds.value, credentialMax)
  const length = to - from
  const isOpen = to === text.length
  const isSecret = scheme === '' ? length >= 16 && hasDigit(text.slice(from, to)) : length >= 4
  return isSecret || isOpen ? { from, to, isSecret } : undefined
}

/** `Bearer …` by itself. */
export const bearer: Shape = {
  kind: 'authorization',
  anchors: ['Bearer ', 'bearer '],
  read(text, at, anchor) {
    const from = at + anchor.length
    const to = endOf(text, from, kinds.value, credentialMax)
    return { from, to, isSecret: to - from >= 20 && hasDigit(text.slice(from, to)) }
  },
}

function hasDigit(text: string): boolean {
  return /\d/.test(text)
}

const passwordMax = 512
/** ASCII characters that end the user and host of a URL. */
const endsUser = Uint8Array.from({ length: 128 }, (_, unit) =>
  Number(/[\s/?#"'`<>,)\]}\\]/.test(String.fromCharCode(unit))),
)

/** `scheme://user:password@host` (RFC 3986, section 3.2.1), as used by database clients. */
export const urlPassword: Shape = {
  kind: 'password',
  anchors: ['://'],
  read(text, at) {
    // At the beginning of a text the scheme may be in an earlier piece.
    if (at > 0 && !followsWord(text, at)) return undefined
    const user = at + 3
    let from: number | undefined
    let last = -1
    const end = Math.min(text.length, user + passwordMax)
    let to = user
    for (; to < end; to++) {
      const unit = text.charCodeAt(to)
      if (unit < 128 ? endsUser[unit] === 1 : /\s/.test(text[to] as string)) break
      if (unit === 0x3a && from === undefined) from = to + 1
      if (unit === 0x40) last = to
    }
    const mayGoOn = to === text.length && to < user + passwordMax
    if (from !== undefined && last > from) {
      if (isPlaceholder(text.slice(from, last))) return undefined
      return { from, to: last, isSecret: true, mayGoOn }
    }
    return mayGoOn ? { from: at, to, isSecret: false, mayGoOn } : undefined
  },
}

/** @returns whether a text is only a placeholder for a password: `${PASSWORD}`, `<password>`, `***` */
export function isPlaceholder(text: string): boolean {
  return /^(?:[$<{%[(]|(.)\1*$)/.test(text)
}
