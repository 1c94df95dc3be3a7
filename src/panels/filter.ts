/** @returns the typed patterns, separated by commas or blanks */
export function patternsOf(text: string): string[] {
  return partsOf(text).filter((pattern) => isPattern.test(pattern))
}

/** @returns the first typed text that is not a valid pattern; nothing if all are valid */
export function faultIn(text: string): string | undefined {
  return partsOf(text).find((part) => !isPattern.test(part))
}

const isPattern = /^!?(?=.)[A-Za-z0-9._:~-]*\*?$/

function partsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((part) => part !== '')
}

/** @returns whether a type passes by the rule of the protocol's `types`, for events that are already loaded */
export function passes(type: string, patterns: readonly string[]): boolean {
  const hits = (pattern: string): boolean =>
    pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!'))
  if (wanted.length > 0 && !wanted.some(hits)) return false
  return !patterns.some((pattern) => pattern.startsWith('!') && hits(pattern.slice(1)))
}
