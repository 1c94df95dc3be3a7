import { readFile, stat } from 'node:fs/promises'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Limits } from '../../protocol/limits.js'

export interface RevokedTokensOptions {
  readonly clock: Clock
  readonly limits: Limits
  /** Told when the file cannot be read again; what was revoked before stays so. */
  readonly report: (error: unknown) => void
}

/** The tokens that were taken back before their time, by their ids (`jti`), as a file lists them. */
export class RevokedTokens {
  readonly #file: string
  readonly #options: RevokedTokensOptions
  #ids: ReadonlySet<string> = new Set()
  /** Which state of the file has been read. */
  #version = ''
  #failed = false
  #first: Promise<void> | undefined
  #timer: Timer | undefined
  #changed: () => void = () => {}

  /** @throws Error that names the file, when it cannot be read or is no such list */
  static async read(file: string, options: RevokedTokensOptions): Promise<RevokedTokens> {
    const revoked = new RevokedTokens(file, options)
    await revoked.#read()
    revoked.#readAgainLater()
    return revoked
  }

  /** Begins to read, and does not wait. What goes wrong is reported, and tried again. */
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

  /** @returns whether the file has been read, once that was tried */
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

  /** Reports once of a file that cannot be read, and again when another state of it cannot. */
  async #readAgain(): Promise<void> {
    try {
      if (await this.#read()) this.#changed()
      this.#failed = false
    } catch (error) {
      if (!this.#failed) this.#options.report(error)
      this.#failed = true
    }
  }

  /** @returns whether it differs from what was read before */
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

/** One in each line; blank lines and what follows a `#` at the beginning of a line say nothing. */
function idsOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}
