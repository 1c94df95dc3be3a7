const encoder = new TextEncoder()

/**
 * A flat text of 32 Ki characters is still collected with what is young. The texts of frames of 256 KiB were old from
 * the start: frames made of parts took half the time, and the pauses of collecting everything came half as often.
 */
const partLength = 32 * 1024

/** Text that grows at its end, and becomes UTF-8. Pieces must not end within a character. */
export class GrowingText {
  #text = ''
  #parts: Uint8Array[] | undefined = undefined

  add(piece: string): void {
    this.#text += piece
    if (this.#text.length < partLength) return
    this.#parts ??= []
    this.#parts.push(encoder.encode(this.#text))
    this.#text = ''
  }

  /** @returns all of it; nothing must be added afterwards */
  encoded(): Uint8Array {
    const rest = encoder.encode(this.#text)
    if (this.#parts === undefined) return rest
    this.#parts.push(rest)
    return Buffer.concat(this.#parts)
  }
}
