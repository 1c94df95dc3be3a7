import { passes } from './filter.js'
import type { PanelEvent } from './model.js'
import { type Entry, isEvent, type Notice, type Row, Rows } from './rows.js'

/** Maximum of events that a panel holds. */
export const eventsMax = 10_000

/**
 * The loaded events of one panel, and their rows. Usually they are the newest part of the history. Events that arrive
 * while another part is shown, or while the panel is paused, wait in `pending`.
 */
export class Log {
  /** The number of received events by type. */
  readonly types = new Map<string, number>()
  /** The newest events, without a gap, until the panel resumes or shows the end again. */
  pending: Entry[] = []
  paused = false
  /** Whether the shown part ends before the newest event that has arrived. */
  away = false
  /** Whether the shown part begins with the oldest retained event. */
  whole = false
  /** Changes whenever another part is shown, because a page that was requested before does not fit then. */
  part = 0
  /** The number of events that arrived live or with a join. */
  received = 0
  #rows = new Rows()
  /** The entries of the present epoch, by offset. */
  #entries: Entry[] = []
  /** The entries of earlier epochs, whose offsets cannot be compared with the present ones. */
  #earlier: Entry[] = []
  #patterns: readonly string[] = []

  get rows(): readonly Row[] {
    return this.#rows.list
  }

  /** @returns the height of the rows removed at the top since the last call. CSS pixels */
  takeRemovedHeight(): number {
    const { removedHeight } = this.#rows
    this.#rows.removedHeight = 0
    return removedHeight
  }

  /** The offsets of the first and the last shown event of the present epoch; 0 if there is none. */
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
      // The events in between are only in the hub's history now.
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
    // The hub has no history of the former epoch, so nothing leads from an older part to its end.
    if (this.away) this.toEnd()
    this.#put({ notice: 'notice', text, time, offset: 0, anew: true })
  }

  /** Filters the events: those to come and those already loaded. */
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
   * Replaces the loaded events by those of a join: another filter selects other events.
   *
   * @param whole whether the hub retains no earlier events
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

  /** Replaces merged events by the single events of the same offsets. */
  unfold(events: readonly PanelEvent[], whole: boolean): void {
    const newest = events.at(-1)?.offset ?? 0
    this.part += 1
    this.whole = whole
    this.#entries = [...events, ...this.#entries.filter(({ offset }) => offset > newest)]
    this.#makeRows()
  }

  /** Adds earlier events. Those beyond the maximum are removed at the end, and loaded again on scrolling there. */
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
   * Adds later events, while the end is away.
   *
   * @param end whether the hub has no later events
   */
  follow(events: readonly PanelEvent[], end: boolean): void {
    this.part += 1
    const next = this.pending.findIndex(isEvent)
    const place = this.pending[next]?.offset ?? Number.POSITIVE_INFINITY
    // A merged event stands for several offsets, so pending events are used from one of their own offsets on.
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
    // If it was away before, there is a gap between the removed and the pending events.
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
