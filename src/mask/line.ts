import { tokenFinder } from './token-finder.js'

/** @returns a log line with `[secret:KIND]` in place of texts with the form of a secret */
export function maskedLine(line: string): string {
  let masked = ''
  let at = 0
  for (const { from, to, kind } of tokenFinder.find(line)) {
    masked += `${line.slice(at, from)}[secret:${kind}]`
    at = to
  }
  return masked + line.slice(at)
}
