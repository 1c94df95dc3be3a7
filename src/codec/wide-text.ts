/**
 * Reads UTF-8 in which each half of a surrogate pair may stand by itself, as three bytes: `ed a0…bf xx`. Encoders of
 * JavaScript and Python make it of a text that was cut within a character. UTF-8 does not allow it, so it is asked only
 * where UTF-8 fails.
 *
 * @returns nothing when the bytes are not even that
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
    // Nothing of it is used then.
    return undefined
  }
}
