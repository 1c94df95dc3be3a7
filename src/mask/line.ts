import { tokenFinder } from './token-finder.js'

/** @returns a line of a log with `[secret:KIND]` in the place of what has the form of a secret */
export function maskedLine(line: string): string {
  let masked = ''
  let at = 0
  for (const { from, to, kind } of tokenFinder.find(line)) {
    masked += `${line.slice(at, from)}[secret:${kind}]`
    at = to
  }
  return masked + line.slice(at)
}
