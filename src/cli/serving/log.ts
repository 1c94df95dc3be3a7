import { type Level, pino } from 'pino'
import { escapeControls } from '../../lib/controls.js'
import { maskedLine } from '../../mask/line.js'
import type { Log } from '../../server/operations/log.js'
import { type Palette, paletteFor } from '../showing/paint.js'
import type { Surroundings } from '../surroundings.js'
import type { LogFormat, LogLevel } from './log-options.js'

/** A log on standard error, with one line per message: JSON, or text for people. */
export function openLog(
  { level, format }: { readonly level: LogLevel; readonly format: LogFormat },
  { stderr, env }: Surroundings,
): Log {
  const palette = paletteFor(stderr, env)
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { streamWrite: withoutSecrets },
    },
    { write: (line) => void stderr.write(format === 'json' ? line : pretty(line, palette)) },
  )
}

/**
 * A line must not contain secrets. No line is made of a token or a query, but texts that quote a peer's input or
 * an error could contain one.
 */
export function withoutSecrets(line: string): string {
  const withoutTokens = line
    .replace(/eyJ[\w-]{4,}(?:\.[\w-]*){0,4}/g, '[token]')
    .replace(/\b(bearer[ .])[\w.~+/=-]+/gi, '$1[token]')
    .replace(/([?&][\w.-]*(?:token|ticket|key|secret)=)[^&\s"'\\]+/gi, '$1[token]')
  return maskedLine(withoutTokens)
}

interface Line {
  readonly level: Level
  readonly time: string
  readonly msg: string
  readonly err?: { readonly message: string; readonly stack?: string }
  readonly [field: string]: unknown
}

/** `12:00:00.000 info  message  name=value …`, with the error below. */
export function pretty(json: string, { dim, red, yellow, cyan, bold }: Palette): string {
  const { level, time, msg, err, ...fields } = JSON.parse(json) as Line
  const paint = { error: red, fatal: red, warn: yellow, info: cyan, debug: dim, trace: dim }[level]
  const named = Object.entries(fields).map(([name, value]) => `${name}=${plain(value)}`)
  const cause = err === undefined ? '' : `\n${dim(withoutControls(err.stack ?? err.message))}`
  const rest = named.length === 0 ? '' : `  ${dim(named.join(' '))}`
  return `${dim(time.slice(11, 23))} ${paint(level.padEnd(5))} ${bold(msg)}${rest}${cause}\n`
}

function withoutControls(text: string): string {
  return escapeControls(text.replace(/(?!\n)\p{Cc}/gu, ' '))
}

/** In quotes unless it is one printable word, because a peer's text must not control the terminal. */
function plain(value: unknown): string {
  return typeof value === 'string' && /^[!#-<>-~]+$/.test(value)
    ? value
    : escapeControls(JSON.stringify(value))
}
