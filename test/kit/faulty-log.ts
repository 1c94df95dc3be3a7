import type { Clock } from '../../src/lib/clock.js'
import type { Random } from '../../src/lib/random.js'
import { MemoryLog, type MemoryLogImage } from '../../src/log/memory-log.js'
import type {
  Append,
  Appended,
  Checkpoint,
  Delivered,
  DescribedPage,
  Description,
  LogFeed,
  LogPast,
  Opened,
  RemovedOnly,
  RewrittenPast,
  SharedLog,
  Since,
} from '../../src/log/shared-log.js'
import type { Position } from '../../src/protocol/cursor.js'
import { StoreError } from '../../src/store/store.js'
import type { SeededRandom } from './random.js'

/** Rules that a mutation takes away, to see that something notices. */
export interface Rules {
  /** The log tells a position that is lost from one that is behind. */
  readonly lost?: boolean
  /** The log looks whether its feed lives. */
  readonly canary?: boolean
  /** The log knows the ids that were published. */
  readonly ids?: boolean
  /** Eras go by time. */
  readonly eras?: boolean
  /** A batch is refused if another hub has changed what is held back of texts. */
  readonly held?: boolean
}

type Batches = ReadonlyMap<string, readonly Delivered[]>

/** A log in memory that remembers all that it has, as the truth, and loses it where the log does. */
export class RecordedLog extends MemoryLog {
  readonly #rules: Rules
  /** By session and epoch. */
  #all: Batches = new Map()

  constructor(clock: Clock, random: Random, laneEntries: number, rules: Rules) {
    super(clock, random, laneEntries)
    this.#rules = rules
  }

  batches(session: string, epoch: string): readonly Delivered[] {
    return this.#all.get(`${session} ${epoch}`) ?? []
  }

  override append(batch: Append): Appended {
    const { held } = batch
    const base = this.image().sessions.get(batch.session)?.held.base
    const isAnyBase = this.#rules.held === false && held !== undefined && base !== undefined
    const answer = super.append(isAnyBase ? { ...batch, held: { ...held, base } } : batch)
    if (answer.kind !== 'appended' || answer.to === answer.from) return answer
    const { from, to } = answer
    const known = answer.known.map(({ place }) => place)
    const name = `${batch.session} ${batch.epoch}`
    const { held: _, ...rest } = batch
    this.#all = new Map(this.#all).set(name, [
      ...this.batches(batch.session, batch.epoch),
      { ...rest, from, to, known },
    ])
    return answer
  }

  recorded(): { readonly image: MemoryLogImage; readonly all: Batches } {
    return { image: this.image(), all: this.#all }
  }

  restore({ image, all }: ReturnType<RecordedLog['recorded']>): void {
    this.failOver(image)
    this.#all = all
  }

  protected override nextEra(before: number, newest: number): number {
    return this.#rules.eras === false ? before + 2 ** 18 : super.nextEra(before, newest)
  }
}

/** Odds that something happens to a call, or to what a feed brings. */
export interface Faults {
  readonly delayMsMax: number
  readonly lostBefore: number
  readonly lostAfter: number
  readonly feedLost: number
  readonly feedTwice: number
}

export const noFaults: Faults = { delayMsMax: 0, lostBefore: 0, lostAfter: 0, feedLost: 0, feedTwice: 0 }

const canaryMs = 200

/** A link to a log that is slow, loses calls and answers, breaks, and whose feed goes dead without a word. */
export class FaultyLink implements SharedLog {
  readonly kind = 'faulty'
  readonly #inner: SharedLog
  readonly #clock: Clock
  readonly #random: SeededRandom
  readonly #rules: Rules
  faults: Faults
  /** Changes when the link breaks: what was under way is gone. */
  #generation = 0
  #isCut = false
  #isDeaf = false
  #isDead = false
  #feedAt = 0
  readonly #feeds = new Map<string, LogFeed>()

  constructor(
    inner: SharedLog,
    { clock, random, faults, rules }: { clock: Clock; random: SeededRandom; faults: Faults; rules: Rules },
  ) {
    this.#inner = inner
    this.#clock = clock
    this.#random = random
    this.faults = faults
    this.#rules = rules
  }

  /** Whether its hub is dead. */
  get isDead(): boolean {
    return this.#isDead
  }

  /** The link breaks, and is there again after a while. */
  cut(ms: number): void {
    if (this.#isDead) return
    this.#generation++
    this.#isCut = true
    const generation = this.#generation
    this.#clock.after(ms, () => {
      if (generation !== this.#generation || this.#isDead) return
      this.#isCut = false
      this.#isDeaf = false
      for (const feed of this.#feeds.values()) feed.broken()
    })
  }

  /** The feed brings nothing any more, and does not know it, until the log looks. */
  deafen(): void {
    if (this.#isDeaf || this.#isDead) return
    this.#isDeaf = true
    const found = (): void => {
      this.#isDeaf = false
      for (const feed of this.#feeds.values()) feed.broken()
    }
    this.#clock.after(canaryMs, () => this.#isCanaryLost(found))
  }

  #isCanaryLost(found: () => void): void {
    if (!this.#isDead && this.#rules.canary !== false) found()
  }

  /** Its hub dies: nothing is answered any more. */
  kill(): void {
    this.#isDead = true
    this.#generation++
    this.#feeds.clear()
    void this.#inner.close()
  }

  append(batch: Append): Promise<Appended> {
    const { ids: _, ...rest } = batch
    return this.#call(() => this.#inner.append(this.#rules.ids === false ? rest : batch))
  }

  open(session: string): Promise<Opened> {
    return this.#call(async () => {
      const opened = await this.#inner.open(session)
      return this.#rules.lost === false ? { ...opened, lost: [] } : opened
    })
  }

  since(session: string, after: Position): Promise<Since> {
    return this.#call(async () => {
      const since = await this.#inner.since(session, after)
      if (since.kind !== 'lost' || this.#rules.lost !== false) return since
      const { batches, last, held } = await this.#inner.open(session)
      const later = batches.filter(({ to }) => to > after.offset)
      return { kind: 'batches', batches: later, last, lost: [], held }
    })
  }

  checkpoint(session: string, checkpoint: Checkpoint): Promise<void> {
    return this.#call(() => this.#inner.checkpoint(session, checkpoint))
  }

  begin(session: string, past: LogPast): Promise<boolean> {
    return this.#call(() => this.#inner.begin(session, past))
  }

  rewrite(session: string, past: RewrittenPast): Promise<boolean> {
    return this.#call(() => this.#inner.rewrite(session, past))
  }

  follow(session: string, feed: LogFeed): Promise<void> {
    this.#feeds.set(session, feed)
    const told: LogFeed = {
      batch: (batch) => {
        const { feedLost, feedTwice } = this.faults
        if (this.#random.chance(feedLost)) {
          // As an engine does that drops who reads too slowly: the log finds out, but not at once.
          this.#clock.after(canaryMs, () => this.#isCanaryLost(() => feed.broken()))
          return
        }
        this.#bring(session, feed, () => feed.batch(batch))
        if (this.#random.chance(feedTwice)) this.#bring(session, feed, () => feed.batch(batch))
      },
      broken: () => feed.broken(),
      removed: (epoch) => this.#bring(session, feed, () => feed.removed(epoch)),
    }
    return this.#call(() => this.#inner.follow(session, told))
  }

  unfollow(session: string): void {
    this.#feeds.delete(session)
    this.#inner.unfollow(session)
  }

  remove(session: string, only?: RemovedOnly): Promise<boolean> {
    return this.#call(() => this.#inner.remove(session, only))
  }

  sessions(after: string, limit: number): Promise<readonly string[]> {
    return this.#call(() => this.#inner.sessions(after, limit))
  }

  describe(session: string, description: Description): Promise<void> {
    return this.#call(() => this.#inner.describe(session, description))
  }

  described(after: number, limit: number): Promise<DescribedPage> {
    return this.#call(() => this.#inner.described(after, limit))
  }

  put(name: string, bytes: Uint8Array, ms: number): Promise<void> {
    return this.#call(() => this.#inner.put(name, bytes, ms))
  }

  take(name: string): Promise<Uint8Array | undefined> {
    return this.#call(() => this.#inner.take(name))
  }

  living(hub: string, ms: number): Promise<readonly string[]> {
    return this.#call(() => this.#inner.living(hub, ms))
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  #delay(): number {
    return this.#random.fraction() * this.faults.delayMsMax
  }

  /** In order, after a while. */
  #bring(session: string, feed: LogFeed, tell: () => void): void {
    if (this.#isCut || this.#isDeaf || this.#isDead) return
    const generation = this.#generation
    const now = this.#clock.elapsed()
    this.#feedAt = Math.max(this.#feedAt, now + this.#delay())
    this.#clock.after(this.#feedAt - now, () => {
      if (generation === this.#generation && this.#feeds.get(session) === feed) tell()
    })
  }

  #call<T>(effect: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const generation = this.#generation
      const { lostBefore, lostAfter } = this.faults
      const fail = (): void => {
        // Nobody is there any more who could be told.
        if (!this.#isDead) reject(new StoreError('failed', 'the link to the log broke'))
      }
      this.#clock.after(this.#delay(), () => {
        if (generation !== this.#generation || this.#isCut || this.#random.chance(lostBefore)) return fail()
        effect().then(
          (answer) =>
            void this.#clock.after(this.#delay(), () => {
              if (generation !== this.#generation || this.#random.chance(lostAfter)) fail()
              else resolve(answer)
            }),
          reject,
        )
      })
    })
  }
}
