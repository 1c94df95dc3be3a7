/** How text looks: the part of ECMA-48's "select graphic rendition" that programs use. */
export interface Look {
  readonly bold?: boolean
  readonly faint?: boolean
  readonly italic?: boolean
  readonly underline?: boolean
  readonly strike?: boolean
  readonly inverse?: boolean
  /** A number up to 15: the theme's colour. Text: an exact one. */
  readonly color?: number | string
  readonly background?: number | string
}

export interface Span {
  readonly text: string
  readonly look: Look
}

export const plain: Look = {}

const escape = '\u001b'
const controls = [
  // A control sequence, with its parameters and its final character.
  `${escape}\\[([0-9;:?]*)[ -/]*([@-~])`,
  // An operating system command, as a window's title.
  `${escape}\\][^\u0007${escape}]*(?:\u0007|${escape}\\\\)?`,
  `${escape}[ -/]*[0-~]`,
  // And what would show text in another order than it has.
  '[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]',
]
const sequence = new RegExp(controls.join('|'), 'g')

/**
 * Splits one line into spans of one look. Sequences that move the cursor are left out.
 *
 * @returns the spans, and the look that the next line begins with
 */
export function spansOf(line: string, before: Look): { readonly spans: Span[]; readonly after: Look } {
  const spans: Span[] = []
  let look = before
  let from = 0
  for (const match of line.matchAll(sequence)) {
    if (match.index > from) spans.push({ text: line.slice(from, match.index), look })
    from = match.index + match[0].length
    if (match[2] === 'm') look = changed(look, match[1] ?? '')
  }
  if (from < line.length) spans.push({ text: line.slice(from), look })
  return { spans, after: look }
}

function changed(look: Look, parameters: string): Look {
  const codes = parameters.split(/[;:]/).map(Number)
  let next: Look = look
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0
    if (code === 38 || code === 48) {
      const [color, used] = exactColor(codes, at + 1)
      at += used
      if (color !== undefined) next = { ...next, [code === 38 ? 'color' : 'background']: color }
    } else next = { ...(code === 0 ? plain : next), ...change(code) }
  }
  return next
}

function change(code: number): { [Name in keyof Look]?: Look[Name] } {
  if (code >= 30 && code <= 37) return { color: code - 30 }
  if (code >= 90 && code <= 97) return { color: code - 82 }
  if (code >= 40 && code <= 47) return { background: code - 40 }
  if (code >= 100 && code <= 107) return { background: code - 92 }
  switch (code) {
    case 1:
      return { bold: true }
    case 2:
      return { faint: true }
    case 3:
      return { italic: true }
    case 4:
      return { underline: true }
    case 7:
      return { inverse: true }
    case 9:
      return { strike: true }
    case 22:
      return { bold: false, faint: false }
    case 23:
      return { italic: false }
    case 24:
      return { underline: false }
    case 27:
      return { inverse: false }
    case 29:
      return { strike: false }
    case 39:
      return { color: '' }
    case 49:
      return { background: '' }
    default:
      return {}
  }
}

const steps = [0, 95, 135, 175, 215, 255] as const

/** @returns the colour after 38 or 48, and how many parameters it took */
function exactColor(
  codes: readonly number[],
  at: number,
): [color: number | string | undefined, used: number] {
  const byte = (value: number | undefined): number => Math.min(255, Math.max(0, Math.trunc(value ?? 0) || 0))
  if (codes[at] === 2) {
    return [`rgb(${byte(codes[at + 1])} ${byte(codes[at + 2])} ${byte(codes[at + 3])})`, 4]
  }
  if (codes[at] !== 5) return [undefined, 1]
  const index = byte(codes[at + 1])
  if (index < 16) return [index, 2]
  if (index >= 232) {
    const grey = (index - 232) * 10 + 8
    return [`rgb(${grey} ${grey} ${grey})`, 2]
  }
  const cube = index - 16
  const part = (step: number): number => steps[step] ?? 0
  return [`rgb(${part(Math.floor(cube / 36))} ${part(Math.floor(cube / 6) % 6)} ${part(cube % 6)})`, 2]
}
