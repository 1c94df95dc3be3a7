import { nanoid } from 'nanoid'

/** The only source of chance in the project; seeded in tests. */
export interface Random {
  /** A fresh id of `size` characters (21 unless given) out of `A–Z a–z 0–9 _ -`. */
  id(size?: number): string
  /** A number in [0, 1). */
  fraction(): number
}

/** The machine's randomness; ids are cryptographically random. */
export const systemRandom: Random = {
  // nanoid concatenates characters, and V8 keeps the ten pieces, 0.4 KB, as long as the id is in use. The copy is one piece.
  id: (size) => Buffer.from(nanoid(size), 'latin1').toString('latin1'),
  fraction: () => Math.random(),
}

/**
 * Keys the hashes of what senders choose, so that they cannot choose values with equal hashes. An odd number from 2³⁰ to
 * 2³¹, of each process its own; no result depends on it.
 */
export const hashKey: number = Math.floor(Math.random() * (1 << 30)) | (1 << 30) | 1
