/**
 * Reads UTF-8 with lone surrogates, which are encoded as three bytes: `ed a0…bf xx`. Encoders in JavaScript and Python produce
 * them for a text that was split within a character. UTF-8 does not allow them, so this is called only after a UTF-8 decoder
 * has failed.
 *
 * @returns undefined if the bytes are invalid in other ways too
 * @see https://simonsapin.github.io/wtf-8/
 */
export function wideText(bytes: Uint8Array): string | undefined {
  let text = ''
  let from = 0
  for (let at = bytes.indexOf(0xed); at !== -1; at = bytes.indexOf(0xed, at + 1)) {
    const [second = 0, third = 0] = bytes.subarray(at + 1, at + 3)
    if (second < 0xa0 || second > 0xbf || third < 0x80 || third > 0xbf) continue
    const before = utf8(bytes.subarray(from, at))
    if (before === undefined) return undefined
    text += before + String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | (third & 0x3f))
    from = at + 3
  }
  const rest = utf8(bytes.subarray(from))
  return rest === undefined ? undefined : text + rest
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    // The partial result is not used.
    return undefined
  }
}
