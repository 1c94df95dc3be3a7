/** Kinds of characters, as bits of `kindsOf`. */
export const kinds = {
  /** A–Z a–z 0–9: no secret begins between two of them. */
  word: 1,
  /** Characters of secrets and of the names before them: printable ASCII without blanks, quotes, brackets, commas. */
  run: 2,
  /** A–Z a–z 0–9 _ - */
  url: 4,
  /** 0–9 a–f */
  hex: 8,
  /** A–Z 0–9 */
  upper: 16,
  /** A–Z a–z 0–9 + / = */
  base64: 32,
  /** A–Z a–z 0–9 _ - . ~ + / = %: values of HTTP headers and of queries. */
  value: 64,
  digit: 128,
  /** The separator between the name and the value of a cookie. */
  equals: 256,
} as const

const table = new Uint16Array(128)

function give(characters: string, kind: number): void {
  for (let at = 0; at < characters.length; at++) {
    const unit = characters.charCodeAt(at)
    table[unit] = (table[unit] ?? 0) | kind
  }
}

const digits = '0123456789'
const upper = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const word = `${digits}${upper}${upper.toLowerCase()}`
give(word, kinds.word | kinds.run | kinds.url | kinds.base64 | kinds.value)
give('_-', kinds.run | kinds.url | kinds.value)
give('+/=', kinds.run | kinds.base64 | kinds.value)
give('.~%', kinds.run | kinds.value)
give('!#$&*:;?@^', kinds.run)
give(`${digits}abcdef`, kinds.hex)
give(`${digits}${upper}`, kinds.upper)
give(digits, kinds.digit)
give('=', kinds.equals)

/** @returns the bits of a UTF-16 code unit; 0 for NaN and for code units that are not ASCII */
export function kindsOf(unit: number): number {
  // Compared first, because a read beyond the end of the table is slow.
  return unit < 128 ? (table[unit] as number) : 0
}

const runs = new Uint8Array(128).map((_, unit) => (kindsOf(unit) & kinds.run) / kinds.run)

function isRun(unit: number): boolean {
  return unit < 128 && runs[unit] === 1
}

/** Shorter runs contain neither a secret nor a name that announces one: `authorization` has 13 characters. */
export const runLengthMin = 13

/**
 * Finds a run that may be, or announce, a secret. It checks every 13th character first, because a run of 13 characters
 * covers one of them, and so reads only a third of ordinary text.
 *
 * @returns the index of the next run of at least 13 characters, or −1
 */
export function nextRun(text: string, from: number): number {
  let at = from
  let last = at + runLengthMin - 1
  while (last < text.length) {
    let back = last
    while (back >= at && isRun(text.charCodeAt(back))) back--
    if (back < at) return at
    at = back + 1
    last = at + runLengthMin - 1
  }
  return -1
}

/** @returns the index after the last consecutive character of a kind, at most `lengthMax` after `from` */
export function endOf(
  text: string,
  from: number,
  kind: number,
  lengthMax = Number.POSITIVE_INFINITY,
): number {
  const end = Math.min(text.length, from + lengthMax)
  let at = from
  while (at < end && (kindsOf(text.charCodeAt(at)) & kind) !== 0) at++
  return at
}

/** @returns whether the character before a place is a letter or a digit */
export function followsWord(text: string, at: number): boolean {
  return at > 0 && (kindsOf(text.charCodeAt(at - 1)) & kinds.word) !== 0
}
