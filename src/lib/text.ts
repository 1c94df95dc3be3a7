/** @returns whether the text has no lone surrogate, which UTF-8 cannot encode (ECMA-262, 22.1.3.10) */
export function isWellFormed(text: string): boolean {
  return text.isWellFormed?.() ?? !/\p{Surrogate}/u.test(text)
}

/** @returns the text with U+FFFD for each lone surrogate */
export function wellFormed(text: string): string {
  // Browsers older than 2023 have neither method.
  return text.toWellFormed?.() ?? text.replace(/\p{Surrogate}/gu, '\uFFFD')
}

/** @returns whether a UTF-16 code unit is the first half of a surrogate pair. */
export function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00
}

/** @returns whether a UTF-16 code unit is the second half of a surrogate pair. */
export function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}
