/** @returns the text, or its beginning and `…`; no character is cut in two. Lengths are in UTF-16 units. */
export function cutText(text: string, lengthMax: number): string {
  if (text.length <= lengthMax) return text
  const last = text.charCodeAt(lengthMax - 2)
  const isHalf = last >= 0xd800 && last <= 0xdbff
  return `${text.slice(0, lengthMax - (isHalf ? 2 : 1))}…`
}
