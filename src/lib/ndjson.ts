import { isUtf8 } from 'node:buffer'

/** One line could not be read; the lines before it have been passed on. */
export class LineError extends Error {
  override readonly name = 'LineError'

  /** From 1. */
  readonly line: number
  readonly reason: 'tooLong' | 'notUtf8'

  constructor(line: number, reason: LineError['reason'], message: string) {
    super(message)
    this.line = line
    this.reason = reason
  }
}

/** A line of more pieces is joined before it ends; the longer it is, the more rarely. */
const piecesMax = 256

const newline = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const byteOrderMark = 0xfeff

/**
 * Splits chunks of any size into lines. `LF` or `CRLF` ends a line; blank lines are counted and skipped; a byte order mark at
 * the beginning is ignored.
 *
 * A chunk is decoded in one piece up to its last newline, which no UTF-8 sequence contains, and cut as text: splitting costs
 * about 60 ns a line of 100 bytes, a tenth of what `JSON.parse` of it does.
 */
export class LineReader {
  readonly #bytesMax: number
  readonly #take: (text: string, line: number) => void
  readonly #look: (bytes: Buffer) => void
  readonly #giveBack: (piece: Uint8Array) => void
  /** The bytes after the last newline, and their total length. */
  #rest: Uint8Array[] = []
  #restBytes = 0
  #line = 0

  /**
   * @param bytesMax the longest line, without its end
   * @param take called for each line, its number from 1
   * @param look called with the bytes of lines before they are passed on, one line or many
   * @param giveBack called with a chunk, or its end, when no part of it is kept
   */
  constructor(
    bytesMax: number,
    take: (text: string, line: number) => void,
    look: (bytes: Buffer) => void = () => {},
    giveBack: (piece: Uint8Array) => void = () => {},
  ) {
    this.#bytesMax = bytesMax
    this.#take = take
    this.#look = look
    this.#giveBack = giveBack
  }

  /** The length of the incomplete line. Bytes. */
  get restBytes(): number {
    return this.#restBytes
  }

  /**
   * Passes on the lines that `chunk` completes; the chunk may be kept until the next newline.
   *
   * @throws LineError, after which the reader must not be used
   */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const end = bytes.lastIndexOf(newline)
    if (end === -1) return this.#keep(bytes)
    const first = this.#restBytes === 0 ? 0 : this.#complete(bytes)
    this.#block(bytes.subarray(first, end + 1))
    this.#keep(bytes.subarray(end + 1))
  }

  /**
   * Passes on the last line if no newline ended it.
   *
   * @throws LineError
   */
  end(): void {
    if (this.#restBytes > 0) this.#lastOf(this.#joined())
    this.drop()
  }

  /** Nothing more is read: what is kept is given back. */
  drop(): void {
    for (const piece of this.#rest) this.#giveBack(piece)
    this.#rest = []
    this.#restBytes = 0
  }

  /** Joins the rest with the beginning of `bytes`, and returns where the next line begins. */
  #complete(bytes: Buffer): number {
    const end = bytes.indexOf(newline)
    const line = this.#joined(bytes.subarray(0, end))
    this.drop()
    this.#lastOf(line)
    return end + 1
  }

  #joined(...end: Uint8Array[]): Buffer {
    return Buffer.concat([...this.#rest, ...end])
  }

  #lastOf(line: Buffer): void {
    this.#line += 1
    this.#check(line)
    this.#look(line)
    this.#give(line.toString('utf8'))
  }

  /** Passes on the lines of a block that begins at the start of a line and ends with a newline. */
  #block(block: Buffer): void {
    if (block.length === 0) return
    if (block.length - 1 > this.#bytesMax || !isUtf8(block)) {
      this.#eachOf(block)
      return
    }
    this.#look(block)
    const text = block.toString('utf8')
    let from = 0
    while (from < text.length) {
      const to = text.indexOf('\n', from)
      this.#line += 1
      this.#give(text.slice(from, to))
      from = to + 1
    }
  }

  /** The slow path, for blocks in which a line is or may be invalid. */
  #eachOf(block: Buffer): void {
    let from = 0
    while (from < block.length) {
      const to = block.indexOf(newline, from)
      this.#lastOf(block.subarray(from, to))
      from = to + 1
    }
  }

  #check(line: Buffer): void {
    const bytes = line.at(-1) === carriageReturn ? line.length - 1 : line.length
    if (bytes > this.#bytesMax) throw this.#tooLong()
    if (!isUtf8(line)) throw new LineError(this.#line, 'notUtf8', `line ${this.#line}: expected UTF-8`)
  }

  #give(given: string): void {
    // A byte order mark may begin the body, as it may any text (RFC 8259, section 8.1).
    const line = this.#line === 1 && given.charCodeAt(0) === byteOrderMark ? given.slice(1) : given
    const text = line.charCodeAt(line.length - 1) === carriageReturn ? line.slice(0, -1) : line
    if (text.length === 0 || (text.charCodeAt(0) <= space && text.trim() === '')) return
    this.#take(text, this.#line)
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return this.#giveBack(bytes)
    this.#rest.push(bytes)
    this.#restBytes += bytes.length
    // A line that arrives byte by byte must not cost a hundred bytes of memory for each.
    if (this.#rest.length > piecesMax + this.#restBytes / piecesMax) {
      const joined = this.#joined()
      for (const piece of this.#rest) this.#giveBack(piece)
      this.#rest = [joined]
    }
    // One byte more than the bound may be the first of a CRLF.
    if (this.#restBytes > this.#bytesMax + 1) {
      this.#line += 1
      throw this.#tooLong()
    }
  }

  #tooLong(): LineError {
    return new LineError(
      this.#line,
      'tooLong',
      `line ${this.#line}: expected at most ${this.#bytesMax} bytes`,
    )
  }
}
