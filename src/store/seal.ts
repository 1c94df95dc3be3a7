import { crc32 } from 'node:zlib'
import { StoreError } from './store.js'

/**
 * A value on disk: the byte 0xC1, the CRC-32 of its key, the CRC-32 of the rest continued from that of the key (both uint32,
 * big endian), and the value of the table. MessagePack never uses 0xC1, and no time or number of the tables begins with it, so
 * values of format 1, which have no seal, can be recognized.
 */
const mark = 0xc1
export const sealBytes = 9

const table = Array.from({ length: 256 }, (_, byte) => {
  let sum = byte
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1
  return sum >>> 0
})

// A call of zlib takes about a microsecond before it reads the first byte.
const smallBytes = 512

function sumOf(bytes: Uint8Array, before: number): number {
  if (bytes.length > smallBytes) return crc32(bytes, before)
  let sum = ~before
  for (const byte of bytes) sum = (table[(sum ^ byte) & 0xff] as number) ^ (sum >>> 8)
  return ~sum >>> 0
}

/** @param key its bytes on disk */
export function seal(key: Uint8Array, value: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(sealBytes + value.length)
  const ofKey = sumOf(key, 0)
  sealed[0] = mark
  sealed.writeUInt32BE(ofKey, 1)
  sealed.writeUInt32BE(sumOf(value, ofKey), 5)
  sealed.set(value, sealBytes)
  return sealed
}

/** @returns whether a value has a seal for this key; the rest of the value is not checked */
export function isOfKey(key: Uint8Array, sealed: Buffer): boolean {
  return sealed.length >= sealBytes && sealed[0] === mark && sealed.readUInt32BE(1) === sumOf(key, 0)
}

/** @returns whether a value has a seal at all */
export function isSealed(value: Uint8Array): boolean {
  return value.length >= sealBytes && value[0] === mark
}

/**
 * @returns the value passed to `seal`
 * @throws StoreError `damaged` when key or value have changed
 */
export function unseal(key: Uint8Array, sealed: Buffer): Buffer {
  if (!isOfKey(key, sealed)) throw new StoreError('damaged', 'the checksum of a key does not match')
  const value = sealed.subarray(sealBytes)
  if (sealed.readUInt32BE(5) !== sumOf(value, sealed.readUInt32BE(1))) {
    throw new StoreError('damaged', 'the checksum of a value does not match')
  }
  return value
}
