/**
 * @returns a number below 2⁵³ for the text: two FNV-1a of 32 bits with different primes, mixed as in MurmurHash3. Two texts
 *   that were not chosen to collide do so in one of 2⁵³ cases. It must stay the same in every version, because it is stored.
 */
export function hashOf(text: string): number {
  let high = 0x811c9dc5
  let low = 0x9747b28c
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    high = Math.imul(high ^ unit, 0x01000193)
    low = Math.imul(low ^ unit, 0x85ebca6b)
    low ^= low >>> 15
  }
  return (mixed(high ^ Math.imul(low, 0x27d4eb2f)) & 0x1fffff) * 2 ** 32 + mixed(low)
}

/** @returns 32 bits, each of which depends on every bit of the input */
function mixed(bits: number): number {
  let sum = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35)
  return (sum ^ (sum >>> 16)) >>> 0
}
