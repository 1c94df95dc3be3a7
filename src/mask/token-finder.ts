import { followsWord, kinds, kindsOf, nextRun } from './characters.js'
import { type Found, heldLengthMax, inOrder, nothingFound, type Seeker } from './found.js'
import type { Shape } from './shape.js'
import { shapes } from './shapes.js'
import { findBlocks, findCookies, mayHaveCookie, openBlock, openCookies } from './wide-shapes.js'

interface Anchored {
  readonly anchor: string
  readonly shape: Shape
}

/** The shapes by the first three characters of their anchors, the longest first: `sk-ant-` before `sk-`. */
const buckets = new Map<number, readonly Anchored[]>()
/** The existing buckets, by some bits of their number. */
const isBucket = new Uint8Array(2 ** 14)
/** The first two characters of the anchors. */
const isPair = new Uint8Array(128 * 128)
/** Beginnings of the prefixes of shapes. */
const beginnings = new Set<string>()

/** What a secret of a known form begins with. */
export const anchors: readonly string[] = shapes.flatMap((shape) => shape.anchors)

for (const shape of shapes) {
  for (const anchor of shape.anchors) {
    addToBucket(bucketOf(anchor, 0), { anchor, shape })
    isPair[anchor.charCodeAt(0) * 128 + anchor.charCodeAt(1)] = 1
    addBeginnings(anchor.slice(0, -1))
  }
}
for (const name of ['Cookie', 'cookie', 'Set-Cookie', 'set-cookie', '-----BEGIN']) {
  isBucket[bucketOf(name, 0) & (isBucket.length - 1)] = 1
  addBeginnings(name)
}
/** First characters, and pairs of them, of prefixes; the end of each text is checked for them. */
const isFirst = new Uint8Array(128)
const isFirstPair = new Uint8Array(128 * 128)
for (const beginning of beginnings) {
  const [first, second] = [beginning.charCodeAt(0), beginning.charCodeAt(1)]
  if (beginning.length === 1) isFirst[first] = 1
  if (beginning.length === 2) isFirstPair[first * 128 + second] = 1
}

function addToBucket(bucket: number, anchored: Anchored): void {
  const all = [...(buckets.get(bucket) ?? []), anchored]
  buckets.set(
    bucket,
    all.sort((a, b) => b.anchor.length - a.anchor.length),
  )
  isBucket[bucket & (isBucket.length - 1)] = 1
}

/** @returns a number for three characters */
function bucketOf(text: string, at: number): number {
  return (
    (Math.imul(text.charCodeAt(at), 0x2f) ^
      Math.imul(text.charCodeAt(at + 1), 0x3d1) ^
      Math.imul(text.charCodeAt(at + 2), 0x1fd3)) >>>
    0
  )
}

function addBeginnings(text: string): void {
  for (let length = 1; length <= text.length; length++) beginnings.add(text.slice(0, length))
}

/** Shorter beginnings are sent at once, because they are frequent and do not reveal a secret. Characters. */
const beginningMin = 3
const beginningMax = Math.max(...[...beginnings].map(({ length }) => length))

/** The beginning of `://`, and of the text after the number of a Telegram bot. */
const beforeSecret = /(?:^|[A-Za-z0-9]):(?:\/|A)?$/

/** Words at the end of a text that may belong together: `{"Authorization": "Bearer …`. */
const wordsMax = 5
const gapMax = 8

/**
 * Finds texts with the form of a secret, in time linear in the text. A secret of a known form begins at a word boundary,
 * with two characters that few words begin with, so only few positions are examined closely. An Aho–Corasick automaton
 * would find the same, but it reads every character.
 */
export const tokenFinder: Seeker & {
  /** @returns the sent end of a text that may precede a secret, or begin its anchor */
  beginningAt(text: string): string
  /** Whether a text contains no secret, and no beginning of one at its end. True for most texts, and cheap. */
  isPlain(text: string): boolean
} = {
  find(text) {
    const run = nextRun(text, 0)
    return run < 0 ? nothingFound : findIn(text, run)
  },

  openFrom(text) {
    const { length } = text
    let open = length < wideMin ? length : Math.min(openBlock(text), openCookies(text))
    for (let at = lastWords(text); at < open - 2; at++) {
      if (!mayBegin(text, at)) continue
      if (isWithinWord(text, at) && at !== afterEscape(text, at - 1)) continue
      open = Math.min(open, openAt(text, at) ?? open)
    }
    return length - open > heldLengthMax ? length : open
  },

  beginningAt(text) {
    if (!mayEndWithBeginning(text)) return ''
    const before = beforeSecret.exec(text.slice(-3))?.[0]
    if (before !== undefined) return before
    for (let length = Math.min(beginningMin - 1, text.length); length > 0; length--) {
      const at = text.length - length
      if (!isWithinWord(text, at) && beginnings.has(text.slice(at))) return text.slice(at)
    }
    return ''
  },

  isPlain(text) {
    return !mayEndWithBeginning(text) && this.find(text).length === 0 && this.openFrom(text) === text.length
  },
}

/** Minimum length of a text with a cookie header or the first line of a private key. */
const wideMin = 7

function mayEndWithBeginning(text: string): boolean {
  const at = text.length - 1
  if (at < 0) return false
  const last = text.charCodeAt(at)
  if (last >= 128) return false
  if (last === 0x3a || last === 0x2f || isFirst[last] === 1) {
    // Within a word only an anchor after `:` counts.
    if (at === 0 || !isWithinWord(text, at)) return true
  }
  const before = at > 0 ? text.charCodeAt(at - 1) : 128
  return before < 128 && isFirstPair[before * 128 + last] === 1 && !isWithinWord(text, at - 1)
}

/**
 * Examines each word boundary in the runs, then searches for secrets that span several runs. It is one long loop, because
 * it is most of the cost of masking: for each character of a run it looks up the kind, and at each word boundary the pair
 * of characters that begins there. See `masking` in the scenario `micro` of the bench.
 *
 * @param first the index of the first run
 */
function findIn(text: string, first: number): readonly Found[] {
  // Nearly always it stays absent: an empty list for each text would cost more than a short run.
  let found: Found[] | undefined
  const { length } = text
  let all = 0
  for (let run = first; run >= 0; ) {
    let at = run
    if (isBearer(text, run)) {
      const secret = secretAt(text, run - 7)
      if (secret !== undefined) {
        found = [...(found ?? []), secret]
        at = Math.max(run, secret.to)
      }
    }
    const afterwards = afterEscape(text, at)
    // Never reads beyond the end: after one NaN, V8 would use floating-point arithmetic here.
    while (at < length) {
      // A secret may begin here, so the pair of characters is looked up. Then the rest of a word is passed over.
      const unit = text.charCodeAt(at)
      const kind = kindsOf(unit)
      if ((kind & runKind) === 0) break
      all |= kind
      if (++at === length) break
      let next = text.charCodeAt(at)
      if (next < 128 && isPair[unit * 128 + next] === 1) {
        const secret = secretAt(text, at - 1)
        if (secret !== undefined) {
          found ??= []
          found.push(secret)
          at = secret.to
          if (at === length) break
          next = text.charCodeAt(at)
        }
      }
      if ((kind & wordKind) === 0) continue
      while (at !== afterwards && (kindsOf(next) & wordKind) !== 0 && ++at < length)
        next = text.charCodeAt(at)
    }
    run = nextRun(text, at)
  }
  if (length >= blockLengthMin && text.includes('-----BEGIN')) {
    found ??= []
    findBlocks(text, found)
  }
  if ((all & kinds.equals) !== 0 && mayHaveCookie(text)) {
    found ??= []
    findCookies(text, found)
  }
  if (found === undefined) return nothingFound
  return found.length > 1 ? inOrder(found) : found
}

/** @returns the secret whose anchor is at the position; nothing if there is none */
function secretAt(text: string, at: number): Found | undefined {
  for (const { anchor, shape } of anchoredAt(text, at)) {
    if (!text.startsWith(anchor, at)) continue
    const reading = shape.read(text, at, anchor)
    if (reading?.isSecret === true) return { from: reading.from, to: reading.to, kind: shape.kind }
  }
  return undefined
}

const { run: runKind, word: wordKind } = kinds
/** Minimum length of the first line of a private key. */
const blockLengthMin = 40

/** Whether a word continues here, so that no secret begins. */
function isWithinWord(text: string, at: number): boolean {
  return followsWord(text, at) && (kindsOf(text.charCodeAt(at)) & kinds.word) !== 0
}

/** @returns the beginning of a run, without the rest of a JSON or terminal escape before it */
function afterEscape(text: string, run: number): number {
  if (run < 2) return run
  const before = text.charCodeAt(run - 1)
  if (before === 0x5c) return run + (text[run] === 'u' ? 5 : 1)
  if (before !== 0x5b || text.charCodeAt(run - 2) !== 0x1b) return run
  let end = run
  while (/[\d;?]/.test(text[end] ?? '')) end++
  return end + 1
}

function isBearer(text: string, run: number): boolean {
  return (
    run > 6 &&
    text.charCodeAt(run - 1) === 0x20 &&
    text.charCodeAt(run - 2) === 0x72 &&
    text.startsWith('earer', run - 6)
  )
}

function mayBegin(text: string, at: number): boolean {
  return at < text.length - 2 && isBucket[bucketOf(text, at) & bucketMask] === 1
}

const bucketMask = isBucket.length - 1

function anchoredAt(text: string, at: number): readonly Anchored[] {
  return at < text.length - 2 ? (buckets.get(bucketOf(text, at)) ?? none) : none
}

const none: readonly Anchored[] = []

/** @returns the beginning of a possible secret that may continue; nothing if there is none */
function openAt(text: string, at: number): number | undefined {
  const left = text.length - at
  if (left >= beginningMin && left <= beginningMax && beginnings.has(text.slice(at))) return at
  for (const { anchor, shape } of anchoredAt(text, at)) {
    if (!text.startsWith(anchor, at)) continue
    const reading = shape.read(text, at, anchor)
    if (reading !== undefined && (reading.mayGoOn ?? reading.to === text.length))
      return Math.min(at, reading.from)
  }
  return undefined
}

/** @returns the index of the last words of a text that may belong to one secret */
function lastWords(text: string): number {
  const floor = Math.max(0, text.length - heldLengthMax)
  let at = text.length
  let words = 0
  let gap = 0
  while (at > floor) {
    const unit = text.charCodeAt(at - 1)
    if ((kindsOf(unit) & kinds.run) !== 0) {
      if (gap > 0 && ++words === wordsMax) break
      gap = 0
    } else if (unit === 0x0a || ++gap > gapMax) break
    at--
  }
  return at
}
