/** RFC 6455, section 5.5.1: a control frame's payload is 125 bytes at most, two of them the code. */
const reasonBytesMax = 123

/** @returns as much of the reason as fits into a close frame, whole characters only */
export function closeReason(text: string): string {
  const bytes = new TextEncoder().encode(text)
  if (bytes.length <= reasonBytesMax) return text
  return new TextDecoder().decode(bytes.subarray(0, reasonBytesMax)).replace(/\uFFFD+$/, '')
}

/** @returns a header's value in which nothing begins another header: RFC 9110, section 5.5 */
export function headerText(value: string): string {
  return value.replace(/\p{Cc}/gu, ' ')
}

/** @returns several lines of one header as one value: RFC 9110, section 5.3; RFC 6265, section 5.4, for cookies */
export function joinedHeader(name: string, before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`
}
