import type { JsonValue } from './json.js'

/**
 * Data is nested within a frame, its list and an item. These levels are allowed in addition, so that the error about too deep
 * data can name its place.
 */
export const levelsAround = 4

/** Shorter text is parsed without a scan: the deepest nesting costs a quarter of a millisecond. */
const scannedLengthMin = 4_096

/**
 * `JSON.parse` for input: text that is nested too deeply is refused before values are created. A mebibyte of brackets takes the
 * parser and the garbage collector 50 to 120 ms; the scan stops where the nesting becomes too deep. Strings are skipped; other
 * text takes about 4 ns a character.
 *
 * @param depthMax levels of the data within a frame
 * @throws SyntaxError
 */
export function parseJsonText(text: string, depthMax: number): JsonValue {
  const levels = depthMax + levelsAround
  if (text.length >= scannedLengthMin && textDeeperThan(levels, text)) {
    throw new SyntaxError(`nested more than ${levels} levels deep`)
  }
  return JSON.parse(text) as JsonValue
}

const quote = 0x22
const backslash = 0x5c

/** @returns whether arrays and objects are nested more than `levels` deep; stops at the first that is */
function textDeeperThan(levels: number, text: string): boolean {
  let open = 0
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case 0x5b:
      case 0x7b:
        open += 1
        if (open > levels) return true
        break
      case 0x5d:
      case 0x7d:
        open -= 1
        break
      case quote:
        at = endOfString(text, at)
        break
    }
  }
  return false
}

/** @returns the index of the quote that ends the string which begins at `start`; the text's length if there is none */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = end
    while (text.charCodeAt(escapes - 1) === backslash) escapes -= 1
    if ((end - escapes) % 2 === 0) return end
  }
  return text.length
}
