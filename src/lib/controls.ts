/** DEL, the C1 controls, and what turns the direction of text: JSON.stringify leaves them as they are. */
const unescaped = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** @returns the same JSON, without a character that steers a terminal or shows text in another order than it has */
export function escapeControls(json: string): string {
  return json.replace(unescaped, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** @returns `text` without the carriage returns at its end. `/\r+$/` looks at a run of them once for each */
export function withoutReturns(text: string): string {
  let end = text.length
  while (end > 0 && text.charCodeAt(end - 1) === 0x0d) end -= 1
  return text.slice(0, end)
}
