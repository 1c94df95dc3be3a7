import { readPlain } from '../codec/read-msgpack.js'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Up to this length, which covers most names, types and ids, a loop is faster than a call of the decoder. */
const shortBytes = 24

/**
 * Decodes one value of plain MessagePack.
 *
 * @throws Error when it is not exactly one
 */
export function unpack(bytes: Uint8Array): unknown {
  const values = readPlain(bytes, readText)
  if (values.length !== 1) throw new RangeError(`expected one value, got ${values.length}`)
  return values[0]
}

function readText(bytes: Uint8Array, from: number, to: number): string {
  if (to - from > shortBytes) return decoder.decode(bytes.subarray(from, to))
  let text = ''
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number
    if (byte > 0x7f) return decoder.decode(bytes.subarray(from, to))
    text += String.fromCharCode(byte)
  }
  return text
}
