import { endOf, kinds } from './characters.js'
import type { Found } from './found.js'
import { valueAt } from './shape.js'

// Secrets that span lines or are in lists: private keys, and the values of cookies.

const blockLengthMax = 32_768
const header = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/y
const partOfHeader = /^-----BEGIN(?: [A-Z0-9 ]{0,60}-{0,4})?$/
const lastLine = /-----END[A-Z0-9 ]{0,60}-----/y
/** A header field (RFC 1421), or a line of base64. */
const line = /[A-Za-z0-9-]{2,30}: [^\r\n\\"]{0,200}|[A-Za-z0-9+/=]+/y
/** Line ends, also as escaped in nested texts. */
const lineEnds = /(?:[ \t]|\r?\n|\\r|\\n)*/y

/** Whether a text has the name of a cookie header. V8 seeks the first character of what it seeks, and `k` is rarer than `o`. */
export function mayHaveCookie(text: string): boolean {
  return text.includes('kie')
}

/** Adds the private keys in a text: from `-----BEGIN … PRIVATE KEY-----` to the line that ends it. */
export function findBlocks(text: string, found: Found[]): void {
  let at = text.indexOf('-----BEGIN')
  while (at >= 0) {
    header.lastIndex = at
    const begin = header.exec(text)?.[0]
    let to = at + 10
    if (begin !== undefined) {
      const body = at + begin.length
      to = blockEnd(text, body).to
      if (to - body >= 16) found.push({ from: at, to, kind: 'private-key' })
    }
    at = text.indexOf('-----BEGIN', to)
  }
}

/** @returns the end of a private key after its first line, and whether the key is complete */
export function blockEnd(text: string, body: number): { readonly to: number; readonly isWhole: boolean } {
  const dashes = text.indexOf('-----', body)
  if (dashes >= 0 && dashes - body < blockLengthMax && text.startsWith('END', dashes + 5)) {
    lastLine.lastIndex = dashes
    const last = lastLine.exec(text)?.[0]
    if (last !== undefined) return { to: dashes + last.length, isWhole: true }
  }
  let to = body
  while (to < text.length && to < body + blockLengthMax) {
    lineEnds.lastIndex = to
    to += lineEnds.exec(text)?.[0].length ?? 0
    line.lastIndex = to
    const found = line.exec(text)?.[0]
    if (found === undefined) break
    to += found.length
    if (to < text.length && !/[\r\n\\]/.test(text[to] as string)) break
  }
  // The last line of the key may be incomplete.
  return { to, isWhole: !/^-{0,5}(?:E|EN|END[A-Z0-9 ]{0,60})?-{0,5}$/.test(text.slice(to, to + 80)) }
}

/** @returns the beginning of an incomplete private key; the text's length if there is none */
export function openBlock(text: string): number {
  // Most texts have none, and `lastIndexOf` takes eight times as long to tell.
  if (!text.includes('-----BEGIN')) return text.length
  const at = text.lastIndexOf('-----BEGIN')
  header.lastIndex = at
  const begin = header.exec(text)?.[0]
  if (begin === undefined) return partOfHeader.test(text.slice(at, at + 80)) ? at : text.length
  return blockEnd(text, at + begin.length).isWhole ? text.length : at
}

const cookieLengthMax = 8_192
const pair = /([^=;\s]{1,256})=([^;,\s\p{Cc}]*)/uy
/** Ends the header's value if the text contains more than headers. */
const endOfCookies = /["'\r\n\\]/g

interface Header {
  readonly at: number
  readonly from: number
  readonly to: number
  readonly isSet: boolean
}

/** Adds the cookie values in a text: all of `Cookie: a=1; b=2`, the first of `Set-Cookie: a=1; Path=/` (RFC 6265). */
export function findCookies(text: string, found: Found[]): void {
  let next = text.indexOf('ookie')
  while (next >= 0) {
    const read = headerAt(text, next)
    if (read !== undefined) addPairs(text, read, found)
    next = text.indexOf('ookie', Math.max(next + 5, read?.to ?? 0))
  }
}

function addPairs(text: string, { from, to, isSet }: Header, found: Found[]): void {
  let at = from
  while (at < to) {
    pair.lastIndex = at
    const [whole, name = '', value = ''] = pair.exec(text) ?? []
    if (whole === undefined) return
    const start = at + name.length + 1
    // A sentence may put them in brackets.
    const end = Math.min(to, start + value.replace(/\)$/, '').length)
    if (end - start >= 6) found.push({ from: start, to: end, kind: 'cookie' })
    if (isSet) return
    at = start + value.length
    while (text[at] === ';' || text[at] === ' ') at++
    if (at === start + value.length) return
  }
}

/** @param at the index of `ookie` */
function headerAt(text: string, at: number): Header | undefined {
  if (!/[cC]/.test(text[at - 1] ?? '')) return undefined
  const isSet = /^[sS]et-$/.test(text.slice(Math.max(0, at - 5), at - 1))
  const from = valueAt(text, at + 5)
  if (from === undefined) return undefined
  endOfCookies.lastIndex = from
  const end = endOfCookies.exec(text)?.index ?? text.length
  return { at: isSet ? at - 5 : at - 1, from, to: Math.min(end, from + cookieLengthMax), isSet }
}

/** @returns the index of a last cookie header that may continue; the text's length if there is none */
export function openCookies(text: string): number {
  if (!mayHaveCookie(text)) return text.length
  const last = text.lastIndexOf('ookie')
  if (last < 0) return text.length
  const read = headerAt(text, last)
  if (read === undefined || read.to < text.length) return text.length
  // A sentence about a cookie has no pair.
  const value = text.slice(read.from, read.from + 300)
  const name = endOf(value, 0, kinds.value & ~kinds.base64)
  return value === '' || /^[^=;\s]{1,256}(?:=|$)/.test(value) || name === value.length ? read.at : text.length
}
