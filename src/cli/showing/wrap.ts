import { eastAsianWidth } from 'get-east-asian-width'
import { colourSequence, escape } from './paint.js'

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const tabWidth = 8
const tokens = new RegExp(`${colourSequence}|\\s+|[^\\s${escape}]+`, 'g')
/** If fewer columns are left for the text, the terminal breaks the lines. */
const roomMin = 12

export interface WrapOptions {
  /** Of the terminal. */
  readonly columns: number
  /** The column at which the text of every line begins, from 0. */
  readonly start: number
  /** The column that has already been reached. */
  readonly column: number
  /** The prefix of a continued line. */
  readonly indent: string
}

/**
 * Breaks a line of text that does not fit, at spaces if there are any, and continues it below its own
 * beginning.
 *
 * @param text one line without its newline, and without control sequences other than colours
 * @returns the text to write, and the column that it reaches
 */
export function wrap(text: string, { columns, start, column, indent }: WrapOptions): Wrapped {
  if (columns - start < roomMin) return { text, column: column + widthOf(text, column) }
  let wrapped = ''
  let at = column
  const breakLine = (): void => {
    wrapped += `\n${indent}`
    at = start
  }
  for (const [token] of text.matchAll(tokens)) {
    if (token.startsWith(escape)) {
      wrapped += token
      continue
    }
    const width = widthOf(token, at)
    if (at + width <= columns) {
      wrapped += token
      at += width
    } else if (/^\s/.test(token)) {
      // The line is broken at spaces that do not fit.
      breakLine()
    } else {
      if (at > start && width <= columns - start) breakLine()
      for (const { segment } of graphemes.segment(token)) {
        const one = widthOf(segment, at)
        if (at + one > columns) breakLine()
        wrapped += segment
        at += one
      }
    }
  }
  return { text: wrapped, column: at }
}

export interface Wrapped {
  readonly text: string
  readonly column: number
}

/** @returns the columns that text without control sequences takes on a terminal, from a column on */
export function widthOf(text: string, column = 0): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  for (const { segment } of graphemes.segment(text)) width += graphemeWidth(segment, column + width)
  return width
}

function graphemeWidth(grapheme: string, column: number): number {
  if (grapheme === '\t') return tabWidth - (column % tabWidth)
  if (/^[\p{Mark}\p{Format}\p{Control}]/u.test(grapheme)) return 0
  // The variation selector that turns a character into an emoji.
  return grapheme.includes('\ufe0f') ? 2 : eastAsianWidth(grapheme.codePointAt(0) ?? 0)
}
