import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { LineError, LineReader } from '../../src/lib/ndjson.js'

interface Read {
  readonly lines: readonly (readonly [number, string])[]
  readonly error: LineError | undefined
}

/** Reads `bytes` in pieces that end at `cuts`. Memory that is given back is used for something else at once. */
function read(bytes: Uint8Array, cuts: readonly number[], bytesMax = 1_000_000): Read {
  const lines: [number, string][] = []
  const held = new Set<ArrayBufferLike>()
  const reuse = ({ buffer }: Uint8Array): void => {
    held.delete(buffer)
    new Uint8Array(buffer).fill(0x2a)
  }
  const reader = new LineReader(bytesMax, (text, line) => lines.push([line, text]), undefined, reuse)
  const ends = [...new Set([...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b)
  try {
    let from = 0
    for (const end of ends) {
      const piece = new Uint8Array(bytes.subarray(from, end))
      held.add(piece.buffer)
      reader.push(piece)
      from = end
    }
    reader.end()
    assert.equal(held.size, 0, 'everything was given back')
  } catch (error) {
    if (error instanceof LineError) return { lines, error }
    throw error
  }
  return { lines, error: undefined }
}

/** The obvious way, with everything in hand. */
function expected(text: string): readonly (readonly [number, string])[] {
  return text
    .split('\n')
    .map((line, index) => [index + 1, line.replace(/\r$/, '')] as const)
    .filter(([, line]) => line.trim() !== '')
}

const piece = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('\n', '\r\n', '\n\n', ' ', '\r', 'é', '日本', '🙂', '{"a":1}'),
)
const cuts = fc.array(fc.nat(200), { maxLength: 40 })

t.test('gives the same lines in any chunking', async (t) => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), cuts, (pieces, at) => {
      // Through bytes and back, so that lone surrogates are replaced on both sides.
      const bytes = Buffer.from(pieces.join(''))
      const { lines, error } = read(bytes, at)
      if (error !== undefined) throw error
      t.strictSame(lines, expected(bytes.toString('utf8')))
    }),
    { numRuns: 300 },
  )
})

t.test('finds the same bad line in any chunking, after all the lines before it', async (t) => {
  const bad = [
    { line: Buffer.from([0x61, 0xff, 0x62]), reason: 'notUtf8' },
    { line: Buffer.from([0xe6, 0x97]), reason: 'notUtf8' },
    { line: Buffer.from('x'.repeat(33)), reason: 'tooLong' },
    { line: Buffer.from('é'.repeat(17)), reason: 'tooLong' },
  ]
  fc.assert(
    fc.property(
      fc.nat(8),
      fc.constantFrom(...bad),
      fc.constantFrom('', '\n', '\r\n', '\nabc'),
      cuts,
      (good, wrong, tail, at) => {
        const bytes = Buffer.concat([Buffer.from('{"é":1}\r\n'.repeat(good)), wrong.line, Buffer.from(tail)])
        const { lines, error } = read(bytes, at, 32)
        t.equal(error?.line, good + 1)
        t.equal(error?.reason, wrong.reason)
        t.equal(lines.length, good)
      },
    ),
    { numRuns: 300 },
  )
})

t.test('lets a line of just the longest length pass', async (t) => {
  for (const end of ['', '\n', '\r\n']) {
    const { lines, error } = read(Buffer.from(`${'x'.repeat(32)}${end}`), [32, 33], 32)
    t.equal(error, undefined)
    t.equal(lines.length, 1)
  }
})

t.test('stops an endless line before it is kept', async (t) => {
  const reader = new LineReader(100, () => t.fail('there is no line'))
  reader.push(Buffer.alloc(60, 'x'))
  t.throws(() => reader.push(Buffer.alloc(60, 'x')), /^line 1: expected at most 100 bytes$/)
})
