/**
 * Escapes U+0085, U+2028 and U+2029 in JSON text. They do not end a line of an event stream, but readers that use Python's
 * `splitlines()` or the like lose the text after them. JSON escapes all other line breaks itself.
 *
 * Three searches without a hit cost about 20 ns for 200 characters.
 */
export function oneLine(json: string): string {
  if (!json.includes('\u0085') && !json.includes('\u2028') && !json.includes('\u2029')) return json
  return json.replace(
    /[\u0085\u2028\u2029]/g,
    (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
