/** DEL, the C1 controls, and characters that change the direction of text. JSON.stringify does not escape them. */
const unescaped = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** @returns the same JSON, with every character escaped that controls a terminal or reorders displayed text */
export function escapeControls(json: string): string {
  return json.replace(unescaped, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** @returns `text` without its final carriage returns; `/\r+$/` would take quadratic time for many of them */
export function withoutReturns(text: string): string {
  let end = text.length
  while (end > 0 && text.charCodeAt(end - 1) === 0x0d) end -= 1
  return text.slice(0, end)
}
