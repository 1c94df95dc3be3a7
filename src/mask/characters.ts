/** Kinds of characters, as bits of `kindsOf`. */
export const kinds = {
  /** A–Z a–z 0–9: between two of them no secret begins. */
  word: 1,
  /** What stands in secrets and in the names before them: printable ASCII without blanks, quotes, brackets, commas. */
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
  /** What stands between the name of a cookie and its value. */
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

/** @returns the bits of a UTF-16 code unit; 0 for what is no ASCII, and NaN */
export function kindsOf(unit: number): number {
  // A comparison first: a read beyond the table is slow.
  return unit < 128 ? (table[unit] as number) : 0
}

const runs = new Uint8Array(128).map((_, unit) => (kindsOf(unit) & kinds.run) / kinds.run)

function isRun(unit: number): boolean {
  return unit < 128 && runs[unit] === 1
}

/** Shorter runs hold no secret, and nothing that says that one follows: `authorization` has 13 characters. */
const runLengthMin = 13

/**
 * Looks for what might be, or announce, a secret. It reads one character in three of ordinary text: a run that is long
 * enough to matter has a character of it at each 13th place.
 *
 * @returns where the next run of at least 13 characters begins, or −1
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

/** @returns where what is of a kind ends, at most `lengthMax` characters on */
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
