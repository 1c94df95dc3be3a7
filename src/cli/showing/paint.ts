import type { Writable } from 'node:stream'
import { withoutReturns } from '../../lib/controls.js'

export type Paint = (text: string) => string

/** Colours of one output stream; each is the identity if colours are off. */
export interface Palette {
  readonly coloured: boolean
  readonly dim: Paint
  readonly bold: Paint
  readonly red: Paint
  readonly green: Paint
  readonly yellow: Paint
  readonly cyan: Paint
  /** The colour of the `index`th worker. */
  worker(index: number): Paint
}

const plain: Paint = (text) => text

function ansi(open: number, close: number): Paint {
  return (text) => `\u001b[${open}m${text}\u001b[${close}m`
}

// Red is reserved for failures, yellow for warnings.
const workerColours = [36, 35, 34, 32, 96, 95, 94, 92].map((colour) => ansi(colour, 39))

const plainPalette: Palette = {
  coloured: false,
  dim: plain,
  bold: plain,
  red: plain,
  green: plain,
  yellow: plain,
  cyan: plain,
  worker: () => plain,
}

const ansiPalette: Palette = {
  coloured: true,
  dim: ansi(2, 22),
  bold: ansi(1, 22),
  red: ansi(31, 39),
  green: ansi(32, 39),
  yellow: ansi(33, 39),
  cyan: ansi(36, 39),
  worker: (index) => workerColours[index % workerColours.length] ?? plain,
}

/**
 * Colours go to terminals only. `NO_COLOR` (no-color.org) turns them off and `FORCE_COLOR` turns them on,
 * for all streams.
 */
export function paletteFor(stream: Writable & { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): Palette {
  if (env['NO_COLOR']) return plainPalette
  const forced = env['FORCE_COLOR']
  if (forced !== undefined) return forced === '0' || forced === 'false' ? plainPalette : ansiPalette
  return stream.isTTY === true && env['TERM'] !== 'dumb' ? ansiPalette : plainPalette
}

/** @returns `1.2 s`, `340 ms`, `2 min 5 s` */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

const thousands = new Intl.NumberFormat('en-US')

/** @returns `12,345 lines`, `1 line` */
export function formatCount(count: number, noun: string): string {
  return `${thousands.format(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** @returns `512 B`, `4.2 MB` */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(1)} kB`
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}

export const escape = '\u001b'
/** The source of a regular expression for sequences that set a colour. */
export const colourSequence = `${escape}\\[[0-9;:]*m`
const bell = '\u0007'
/** A control character (C0, DEL or C1) other than tab and line feed, or one that changes the direction of text. */
const control = /[^\P{Cc}\t\n]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
const controls = new RegExp(control, 'gu')
const colour = /^\[[0-9;:]*m/
const sequence = /^\[[0-?]*[ -/]*[@-~]?/

/**
 * Makes foreign text harmless on a terminal: of all control sequences (ECMA-48) only colours stay, and
 * they end with the text. Of a line that was overwritten with `\r` the last version stays.
 */
export function terminalText(text: string): string {
  if (!control.test(text)) return text
  const newline = text.endsWith('\n') ? '\n' : ''
  const line = withoutReturns(text.slice(0, text.length - newline.length))
  const [start = '', ...rest] = line.slice(line.lastIndexOf('\r') + 1).split(escape)
  const shown = start.replace(controls, '') + rest.map(afterEscape).join('')
  return `${shown}${shown.includes(escape) ? `${escape}[0m` : ''}${newline}`
}

/** @returns whether a piece of an unfinished line restarts at the line's beginning, as a progress bar does */
export function overwrites(text: string): boolean {
  return withoutReturns(text.replace(/\n$/, '')).includes('\r')
}

/** Returns to the beginning of a terminal's line, and clears the line. */
export const lineAgain = `\r${escape}[K`

/** @returns the harmless part of the text between one ESC and the next */
function afterEscape(text: string): string {
  const kept = colour.exec(text)?.[0]
  if (kept !== undefined) return escape + kept + text.slice(kept.length).replace(controls, '')
  if (text.startsWith(']'))
    return text.includes(bell) ? text.slice(text.indexOf(bell) + 1).replace(controls, '') : ''
  const dropped = sequence.exec(text)?.[0] ?? text.slice(0, 1)
  return text.slice(dropped.length).replace(controls, '')
}
