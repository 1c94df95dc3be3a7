import type { JsonValue } from './json.js'
import { hashed, NameCount, tooManyNames } from './name-count.js'

/**
 * Data is nested within a frame, its list and an item. These levels are allowed in addition, so that the error about too deep
 * data can name its place.
 */
export const levelsAround = 4

/** The bounds of `Limits` that are checked before values are created. */
export interface TextBounds {
  /** Levels of the data within a frame. */
  readonly depthMax: number
  /** See `NameCount`. */
  readonly namesMax: number
}

/** A text is beyond the bounds; whatever follows cannot change that. */
export class BeyondBounds extends SyntaxError {}

/**
 * @returns the value of a JSON text that is itself a text of a value, for example the arguments of a tool; the text if it is not
 *   JSON or beyond the bounds; `{}` if it is blank
 */
export function embeddedJson(text: string, bounds: TextBounds): JsonValue {
  if (text.trim() === '') return {}
  try {
    return parseJsonText(text, bounds)
  } catch {
    return text
  }
}

/** Shorter text is parsed without a scan: the deepest nesting costs a quarter of a millisecond. */
const scannedLengthMin = 4_096

/** The characters of a name and its value at least, and those of an empty array. */
const nameLengthMin = 3

/**
 * `JSON.parse` for input: text that is nested too deeply or has too many names is refused before values are created. A mebibyte
 * of brackets takes the parser and the garbage collector 50 to 120 ms; the scan stops where the nesting becomes too deep. It
 * takes about 4 ns a character; strings are skipped, but the names in a long text are read.
 *
 * @throws SyntaxError, `BeyondBounds` for the bounds
 */
export function parseJsonText(text: string, bounds: TextBounds): JsonValue {
  expectWithinBounds(text, bounds)
  return JSON.parse(text) as JsonValue
}

/** The part of `parseJsonText` before values are created. @throws BeyondBounds */
export function expectWithinBounds(text: string, { depthMax, namesMax }: TextBounds): void {
  if (text.length < scannedLengthMin) return
  const levels = depthMax + levelsAround
  const names = text.length > nameLengthMin * namesMax ? new NameCount(namesMax) : undefined
  const problem = scan(text, levels, names)
  if (problem === 'depth') throw new BeyondBounds(`nested more than ${levels} levels deep`)
  if (problem === 'names') throw new BeyondBounds(tooManyNames(namesMax))
}

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a
const space = 0x20

/** @returns what there is too much of; stops at the first */
function scan(text: string, levels: number, names: NameCount | undefined): 'depth' | 'names' | undefined {
  let open = 0
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case 0x5b:
      case 0x7b:
        open += 1
        if (open > levels) return 'depth'
        names?.open()
        break
      case 0x5d:
      case 0x7d:
        open -= 1
        if (names?.close() === true) return 'names'
        break
      case quote: {
        const end = endOfString(text, at)
        if (names !== undefined && isBeforeColon(text, end + 1) && names.name(hashOf(text, at + 1, end)))
          return 'names'
        at = end
        break
      }
    }
  }
  return undefined
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

/** @returns whether a colon follows, after white space */
function isBeforeColon(text: string, at: number): boolean {
  let next = at
  while (text.charCodeAt(next) <= space) next += 1
  return text.charCodeAt(next) === colon
}

function hashOf(text: string, from: number, to: number): number {
  let hash = to - from
  for (let at = from; at < to; at += 1) hash = hashed(hash, text.charCodeAt(at))
  return hash
}
