import { readFile, stat } from 'node:fs/promises'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Limits } from '../../protocol/limits.js'

export interface RevokedTokensOptions {
  readonly clock: Clock
  readonly limits: Limits
  /** Called when reading the file again fails; the previous list stays in force. */
  readonly report: (error: unknown) => void
}

/** The revoked tokens, by their ids (`jti`), from a file. */
export class RevokedTokens {
  readonly #file: string
  readonly #options: RevokedTokensOptions
  #ids: ReadonlySet<string> = new Set()
  /** Identifies the state of the file that was read. */
  #version = ''
  #failed = false
  #first: Promise<void> | undefined
  #timer: Timer | undefined
  #changed: () => void = () => {}

  /** @throws Error that names the file, when it cannot be read or is not such a list */
  static async read(file: string, options: RevokedTokensOptions): Promise<RevokedTokens> {
    const revoked = new RevokedTokens(file, options)
    await revoked.#read()
    revoked.#readAgainLater()
    return revoked
  }

  /** Begins to read without waiting. Errors are reported, and reading is tried again. */
  static begin(file: string, options: RevokedTokensOptions): RevokedTokens {
    const revoked = new RevokedTokens(file, options)
    revoked.#first = revoked.#readAgain()
    revoked.#readAgainLater()
    return revoked
  }

  private constructor(file: string, options: RevokedTokensOptions) {
    this.#file = file
    this.#options = options
  }

  /** @returns whether the file has been read, after the first attempt */
  async isKnown(): Promise<boolean> {
    await this.#first
    return this.#version !== ''
  }

  has(id: string): boolean {
    return this.#ids.has(id)
  }

  /** Calls `task` whenever the file has changed. */
  onChange(task: () => void): void {
    this.#changed = task
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #readAgainLater(): void {
    this.#timer = this.#options.clock.after(this.#options.limits.revokedMs, () => {
      void this.#readAgain().finally(() => {
        if (this.#timer !== undefined) this.#readAgainLater()
      })
    })
  }

  /** Reports a file that cannot be read once, and again when its state changes. */
  async #readAgain(): Promise<void> {
    try {
      if (await this.#read()) this.#changed()
      this.#failed = false
    } catch (error) {
      if (!this.#failed) this.#options.report(error)
      this.#failed = true
    }
  }

  /** @returns whether the list has changed */
  async #read(): Promise<boolean> {
    const { revokedMax, revokedBytesMax, eventIdLengthMax } = this.#options.limits
    try {
      const { size, mtimeMs, ino } = await stat(this.#file)
      const version = `${size} ${mtimeMs} ${ino}`
      if (version === this.#version) return false
      if (size > revokedBytesMax) throw new Error(`expected at most ${revokedBytesMax} bytes, got ${size}`)
      const ids = new Set(idsOf(await readFile(this.#file, 'utf8')))
      if (ids.size > revokedMax) throw new Error(`expected at most ${revokedMax} ids, got ${ids.size}`)
      const long = [...ids].find((id) => id.length > eventIdLengthMax)
      if (long !== undefined)
        throw new Error(`expected ids of at most ${eventIdLengthMax} characters, one in each line`)
      this.#ids = ids
      this.#version = version
      return true
    } catch (error) {
      throw new Error(`${this.#file}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
}

/** One id per line; blank lines and lines that begin with `#` are ignored. */
function idsOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}
