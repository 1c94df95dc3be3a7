import { hashOf } from '../lib/hash.js'

/** Sessions are spread over so many; all keys of one shard are in one slot of a cluster. The same for ever: keys have it. */
export const shardsMax = 256
const slotsMax = 16_384

/** @returns CRC16 of XMODEM, which says the slot of a key (Redis Cluster specification, appendix A) */
function crc16(text: string): number {
  let crc = 0
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i) << 8
    for (let bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc
}

export interface Shard {
  readonly number: number
  /** Between braces in each of its keys. */
  readonly tag: string
  readonly slot: number
}

/** The shards; their slots are spread evenly, which those of `{0}`, `{1}` and so on are not. */
export const shards: readonly Shard[] = (() => {
  const found: Shard[] = []
  for (let i = 0, left = shardsMax; left > 0; i++) {
    const tag = i.toString(36)
    const slot = crc16(tag) % slotsMax
    const number = Math.floor((slot * shardsMax) / slotsMax)
    if (found[number] !== undefined) continue
    found[number] = { number, tag, slot }
    left--
  }
  return found
})()

export function shardOf(session: string): Shard {
  return shards[hashOf(session) % shardsMax] as Shard
}
