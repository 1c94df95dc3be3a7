/** RFC 6455, section 5.5.1: a control frame's payload has at most 125 bytes, two of which are the code. */
const reasonBytesMax = 123

/** @returns the part of the reason that fits into a close frame, in whole characters */
export function closeReason(text: string): string {
  const bytes = new TextEncoder().encode(text)
  if (bytes.length <= reasonBytesMax) return text
  return new TextDecoder().decode(bytes.subarray(0, reasonBytesMax)).replace(/\uFFFD+$/, '')
}

/** @returns a header's value without line breaks, which would begin another header: RFC 9110, section 5.5 */
export function headerText(value: string): string {
  return value.replace(/\p{Cc}/gu, ' ')
}

/** @returns header text as UTF-8 that was read as Latin-1 */
export function utf8(text: string): string {
  return /[\x80-\xff]/.test(text) ? Buffer.from(text, 'latin1').toString('utf8') : text
}

/** @returns header text that is UTF-8 on the wire when it is written as Latin-1 */
export function latin1(text: string): string {
  return /[^\x20-\x7e]/.test(text) ? Buffer.from(headerText(text), 'utf8').toString('latin1') : text
}

/** @returns the joined value of several lines of one header: RFC 9110, section 5.3; RFC 6265, section 5.4, for cookies */
export function joinedHeader(name: string, before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`
}
