import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { keyBytes } from '../../src/store/lmdb-tables.js'

/**
 * Makes large values point to pages that are not there. The store may be open.
 *
 * @param name a number: what belongs to the session with this number, and the message with this key in the outbox; a text: the
 *   record of the session with this id
 * @returns how many there were
 */
export function breakValues(path: string, name: number | string): number {
  const bytes = readFileSync(path)
  const fd = openSync(path, 'r+')
  const prefix = Buffer.from(keyBytes([name, 1]).subarray(0, 9))
  const alone = Buffer.from(keyBytes(name))
  let broken = 0
  for (let page = 2 * 4_096; page < bytes.length; page += 4_096) {
    const count = bytes.readUInt16LE(page + 18) === 2 ? bytes.readUInt16LE(page + 20) / 2 : 0
    for (let index = 0; index < count; index++) {
      const node = page + 24 + bytes.readUInt16LE(page + 24 + 2 * index)
      const key = bytes.subarray(node + 8, node + 8 + bytes.readUInt16LE(node + 6))
      const isLarge = bytes.readUInt16LE(node + 4) === 1
      const isMeant = key.equals(alone) || (typeof name === 'number' && key.subarray(0, 9).equals(prefix))
      if (!isLarge || !isMeant) continue
      const nowhere = Buffer.alloc(8)
      nowhere.writeUInt32LE(0x0fff_ffff)
      writeSync(fd, nowhere, 0, 8, node + 8 + key.length)
      broken += 1
    }
  }
  closeSync(fd)
  return broken
}
