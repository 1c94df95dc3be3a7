import type { Clock, Timer } from '../lib/clock.js'
import { Oldest } from '../lib/oldest.js'
import { type Entry, packLane } from './blocks.js'
import type { Argument } from './connection.js'
import { type Script, scripts } from './scripts.js'

/** Sessions that are looked at in one turn. */
const atOnce = 20
/** What is packed at once; a session that retains more is left as it is. */
const packedBytesMax = 256 * 1024
/** Sessions that are remembered until they are idle; of more, those of the longest ago are left as they are. */
const dueMax = 100_000
/** When ids have become old enough to go. */
const idsMs = 3_660_000

interface IdleOptions {
  readonly clock: Clock
  readonly idleMs: number
  readonly call: (script: Script, session: string, args: readonly Argument[]) => Promise<unknown>
}

interface Due {
  at: number
  /** It has been packed; its ids are next. */
  isPacked: boolean
}

/** Makes small in Redis what nothing is appended to any more: batches are packed into one block, and old ids go. */
export class Idle {
  readonly #options: IdleOptions
  /** In the order in which something was appended last. */
  readonly #due = new Map<string, Due>()
  readonly #oldest = new Oldest(this.#due)
  #timer: Timer | undefined = undefined
  #isStopped = false
  packed = 0

  constructor(options: IdleOptions) {
    this.#options = options
  }

  /** Something was appended to a session by this hub. */
  touched(session: string): void {
    const { clock, idleMs } = this.#options
    this.#due.delete(session)
    this.#due.set(session, { at: clock.elapsed() + idleMs, isPacked: false })
    if (this.#due.size > dueMax) this.#due.delete(this.#oldest.next() as string)
    this.#schedule(idleMs)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#due.clear()
  }

  #schedule(ms: number): void {
    if (this.#timer !== undefined || this.#isStopped) return
    this.#timer = this.#options.clock.after(ms, () => {
      this.#timer = undefined
      this.#look().catch(() => undefined)
    })
  }

  async #look(): Promise<void> {
    const { clock, idleMs } = this.#options
    const now = clock.elapsed()
    const ripe: [string, Due][] = []
    for (const entry of this.#due) {
      if (ripe.length === atOnce) break
      if (entry[1].at <= now) ripe.push(entry)
    }
    for (const [session, due] of ripe) {
      this.#due.delete(session)
      await this.#pack(session).catch(() => undefined)
      if (due.isPacked || this.#due.has(session) || this.#isStopped) continue
      this.#due.set(session, { at: now + idsMs, isPacked: true })
    }
    if (this.#due.size > 0) this.#schedule(ripe.length === atOnce ? 1 : Math.max(1, idleMs / 4))
  }

  async #pack(session: string): Promise<void> {
    const { call } = this.#options
    const [epoch, last, rewrites, critical, droppable] = (await call(scripts.idle, session, [
      packedBytesMax,
    ])) as [Buffer, number, Buffer, readonly Entry[], readonly Entry[]]
    if (epoch === undefined) return
    const lanes = [packLane(critical), packLane(droppable)]
    if (lanes.every((lane) => lane === undefined)) return
    const args = lanes.flatMap((lane) => lane ?? ['', '', ''])
    if ((await call(scripts.pack, session, [String(epoch), last, String(rewrites), ...args])) === 1)
      this.packed++
  }
}
