import { passes } from './filter.js'
import type { PanelEvent } from './model.js'
import { type Entry, isEvent, type Notice, type Row, Rows } from './rows.js'

/** Maximum of events of a panel. */
export const eventsMax = 10_000

/**
 * The events of one panel that are loaded, a part of all there are, and the rows made of them. Mostly it is the newest
 * part; what comes while another is shown, or while the panel rests, waits in `pending`.
 */
export class Log {
  /** The number of received events by type. */
  readonly types = new Map<string, number>()
  /** What waits until the panel goes on, or comes to the end again: the newest, without a hole. */
  pending: Entry[] = []
  paused = false
  /** Whether what is shown ends before the newest event that had come. */
  away = false
  /** Whether the shown part begins with the oldest retained event. */
  whole = false
  /** Another number with each change of which part is shown: a page that was asked for before does not fit any more. */
  part = 0
  /** The number of events that came live or with a join. */
  received = 0
  #rows = new Rows()
  /** Of the present epoch, by offset. */
  #entries: Entry[] = []
  /** Of epochs before: their offsets say nothing beside the present ones. */
  #earlier: Entry[] = []
  #patterns: readonly string[] = []

  get rows(): readonly Row[] {
    return this.#rows.list
  }

  /** @returns pixels that left at the top since this was last asked */
  takeRemovedHeight(): number {
    const { removedHeight } = this.#rows
    this.#rows.removedHeight = 0
    return removedHeight
  }

  /** The offsets of the first and the last event of the present epoch that are shown; 0 where there is none. */
  get first(): number {
    return this.#entries.find(isEvent)?.offset ?? 0
  }

  get last(): number {
    return this.#entries.findLast(isEvent)?.offset ?? 0
  }

  put(event: PanelEvent): void {
    this.#count(event)
    this.#put(event)
  }

  #count({ type }: PanelEvent): void {
    this.received += 1
    this.types.set(type, (this.types.get(type) ?? 0) + 1)
  }

  #put(entry: Entry): void {
    if (!this.paused && !this.away) return this.#take(entry)
    this.pending.push(entry)
    if (this.pending.length > eventsMax * 1.1) {
      this.pending = this.pending.slice(-eventsMax)
      // What was between is only in the hub's history now.
      this.away = true
    }
  }

  pause(): void {
    this.paused = true
  }

  goOn(): void {
    this.paused = false
    if (!this.away) this.#takePending()
  }

  /** Shows the newest events again. */
  toEnd(): void {
    this.paused = false
    if (!this.away) return this.#takePending()
    this.part += 1
    this.away = false
    this.whole = false
    this.#entries = this.pending
    this.pending = []
    this.#makeRows()
  }

  #takePending(): void {
    const { pending } = this
    this.pending = []
    for (const entry of pending) this.#take(entry)
  }

  /** Shows a notice of the panel itself. */
  notice(text: string, time: number, notice: Notice['notice'] = 'notice'): void {
    const offset = (this.pending.at(-1) ?? this.#entries.at(-1))?.offset ?? 0
    this.#put({ notice, text, time, offset, anew: false })
  }

  /** Shows that the following events belong to another epoch. */
  beginAnew(text: string, time: number): void {
    // What was away in the past of the one before has no history to go back through.
    if (this.away) this.toEnd()
    this.#put({ notice: 'notice', text, time, offset: 0, anew: true })
  }

  /** Shows only what passes, of the events that are here as well. */
  choose(patterns: readonly string[]): void {
    this.#patterns = patterns
    this.#makeRows()
  }

  #makeRows(): void {
    const before = this.#rows.list
    this.#rows = new Rows(before)
    for (const entry of [...this.#earlier, ...this.#entries]) this.#show(entry)
    this.#rows.removedHeight = 0
  }

  /**
   * Takes what a join brought in the place of what was loaded: by another filter it is other events.
   *
   * @param whole whether the hub retains nothing that precedes it
   */
  join(events: readonly PanelEvent[], whole: boolean): void {
    const shown = this.pending.length > 0 || this.paused ? this.last : Number.POSITIVE_INFINITY
    const notices = this.#entries.filter((entry) => !isEvent(entry))
    const entries = [...events, ...notices].toSorted((one, other) => one.offset - other.offset)
    this.part += 1
    this.received = 0
    for (const event of events) this.#count(event)
    this.away = false
    this.whole = whole
    this.#entries = this.paused ? entries.filter(({ offset }) => offset <= shown) : entries
    this.pending = this.paused ? entries.filter(({ offset }) => offset > shown) : []
    this.#makeRows()
  }

  /** Takes events one by one in the place of those of the same offsets whose texts were joined on the way. */
  unfold(events: readonly PanelEvent[], whole: boolean): void {
    const newest = events.at(-1)?.offset ?? 0
    this.part += 1
    this.whole = whole
    this.#entries = [...events, ...this.#entries.filter(({ offset }) => offset > newest)]
    this.#makeRows()
  }

  /** Takes in what precedes. What is too much then leaves at the end, and comes again when somebody goes there. */
  precede(events: readonly PanelEvent[], whole: boolean): void {
    this.part += 1
    const entries = [...events, ...this.#entries]
    const left = entries.slice(eventsMax)
    this.#entries = entries.slice(0, eventsMax)
    this.whole = whole
    if (left.length > 0) this.#leaveEnd(left)
    this.#makeRows()
  }

  /**
   * Takes in what follows, while the end is away.
   *
   * @param end whether the hub has nothing more that follows
   */
  follow(events: readonly PanelEvent[], end: boolean): void {
    this.part += 1
    const next = this.pending.findIndex(isEvent)
    const place = this.pending[next]?.offset ?? Number.POSITIVE_INFINITY
    // Texts that were joined on the way are one event of many: what waits is taken from one of its own events on.
    const isReached = events.some(({ offset }) => offset >= place)
    this.#entries.push(...(isReached ? events.filter(({ offset }) => offset <= place) : events))
    if (isReached || end) {
      this.away = false
      const rest = isReached ? this.pending.slice(next + 1) : this.pending
      if (this.paused) this.pending = rest
      else {
        this.#entries.push(...rest)
        this.pending = []
      }
    }
    let removed = 0
    if (this.#entries.length > eventsMax) {
      const from = this.#entries[this.#entries.length - eventsMax]?.offset ?? 0
      for (const row of this.rows) if (row.offset < from) removed += row.height
      this.#entries = this.#entries.slice(-eventsMax)
      this.whole = false
    }
    this.#makeRows()
    this.#rows.removedHeight = removed
  }

  /** Replaces the loaded events by another part of the history. */
  goTo(
    events: readonly PanelEvent[],
    { whole, end }: { readonly whole: boolean; readonly end: boolean },
  ): void {
    if (!this.away) this.#leaveEnd(this.#entries)
    this.#entries = []
    this.whole = whole
    this.follow(events, end)
  }

  #leaveEnd(entries: readonly Entry[]): void {
    // While it is away already, a hole is between what leaves and what waits.
    if (!this.away) this.pending = [...entries, ...this.pending].slice(-eventsMax)
    this.away = true
  }

  ndjson(): string {
    return [...this.#earlier, ...this.#entries]
      .filter(isEvent)
      .filter(({ type }) => passes(type, this.#patterns))
      .map((event) => `${JSON.stringify(event)}\n`)
      .join('')
  }

  /** The text of the rows, one line each. */
  text(): string {
    return this.rows
      .map(({ kind, type, name, text }) =>
        kind === 'line' || kind === 'text' ? text : `${name ?? type} ${text}`.trim(),
      )
      .map((line) => `${line}\n`)
      .join('')
  }

  #take(entry: Entry): void {
    if (!isEvent(entry) && entry.anew) {
      this.#earlier = [...this.#earlier, ...this.#entries].slice(-eventsMax)
      this.#entries = []
    }
    this.#entries.push(entry)
    if (this.#entries.length > eventsMax * 1.1) {
      this.#entries = this.#entries.slice(-eventsMax)
      this.whole = false
    }
    this.#show(entry)
  }

  #show(entry: Entry): void {
    if (!isEvent(entry) || passes(entry.type, this.#patterns)) this.#rows.show(entry)
  }
}
