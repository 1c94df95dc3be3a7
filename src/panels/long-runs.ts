/**
 * Maximum of characters between two spaces, or of spaces between two characters, in text that is read as Markdown. The lexer takes
 * quadratic time for them: 0.2 s for 10,000, and 20 s for 80,000.
 */
const runLengthMax = 2_000

const lineFeed = 0x0a
const space = 0x20

/** @returns whether the text has a longer run of characters, or of spaces, within one line */
export function hasLongRun(text: string): boolean {
  let length = 0
  let wasSpace = false
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    const isSpace = unit <= space
    length = unit === lineFeed ? 0 : isSpace === wasSpace ? length + 1 : 1
    wasSpace = isSpace
    if (length > runLengthMax) return true
  }
  return false
}
