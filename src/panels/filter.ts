/** @returns the patterns that a person typed, separated by commas or blanks */
export function patternsOf(text: string): string[] {
  return partsOf(text).filter((pattern) => isPattern.test(pattern))
}

/** @returns what a person typed that is no pattern; nothing where all are */
export function faultIn(text: string): string | undefined {
  return partsOf(text).find((part) => !isPattern.test(part))
}

const isPattern = /^!?(?=.)[A-Za-z0-9._:~-]*\*?$/

function partsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((part) => part !== '')
}

/** @returns whether a type passes: the rule of the protocol's `types`, for events that are here already */
export function passes(type: string, patterns: readonly string[]): boolean {
  const hits = (pattern: string): boolean =>
    pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!'))
  if (wanted.length > 0 && !wanted.some(hits)) return false
  return !patterns.some((pattern) => pattern.startsWith('!') && hits(pattern.slice(1)))
}
