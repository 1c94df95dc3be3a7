const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let bits = index
  for (let round = 0; round < 8; round++) bits = bits & 1 ? (bits >>> 1) ^ 0xedb88320 : bits >>> 1
  return bits >>> 0
})

/** @returns the CRC-32 (ISO 3309) of an ASCII text */
export function crc32(text: string): number {
  let crc = 0xffffffff
  for (let at = 0; at < text.length; at++) {
    crc = (crcTable[(crc ^ text.charCodeAt(at)) & 0xff] as number) ^ (crc >>> 8)
  }
  return (crc ^ 0xffffffff) >>> 0
}

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** @returns the last six characters of GitHub and npm tokens: the CRC-32 of the 30 characters before them, in base 62 */
export function tokenChecksum(text: string): string {
  let left = crc32(text)
  let written = ''
  for (let place = 0; place < 6; place++) {
    written = `${base62[left % 62]}${written}`
    left = Math.floor(left / 62)
  }
  return written
}

/** @returns whether the last six characters are the checksum of the others */
export function hasChecksum(body: string): boolean {
  return tokenChecksum(body.slice(0, -6)) === body.slice(-6)
}
