import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'
import type { StateChange } from '../client/view-events.js'
import { Finder, type Match } from './finder.js'
import { countText } from './format.js'
import type { Lag } from './lag.js'
import { Log } from './log.js'
import { type Fields, fieldsOf, type PanelEvent, type PanelMode } from './model.js'
import type { Rate } from './rate.js'
import type { HubRequests } from './requests.js'
import type { Row } from './rows.js'
import { type From, TopicHistory } from './topic-history.js'

/** The shared parts of all panels of a session. */
export interface Meters {
  readonly total: Rate
  readonly lag: Lag
  /** The reported gaps. One that all panels get, such as a new epoch, counts once. */
  readonly gaps: Set<string>
}

/** Maximum of events that a panel begins with. */
export const joinedEvents = 1_000
/** The number of events that each step upwards or downwards loads. */
const pageEvents = 500
/** The number of events around the target of a link. */
const eventsBefore = 150

/** The source of a panel's events: its live topic, and the hub's history for earlier events. */
export class PanelFeed {
  readonly log = new Log()
  /** The slice `$commands` of the topic. */
  commands: Fields = {}
  live = false
  /** Why the hub ended the subscription. */
  ended: string | undefined
  /** Which part of the history is being loaded. */
  loading: 'earlier' | 'later' | 'there' | undefined
  /** Why the last request for history failed. */
  refused: string | undefined
  readonly #history: TopicHistory
  readonly #client: Client
  readonly #topic: string
  readonly #meters: Meters
  readonly #rate: Rate
  readonly #lastMax: number
  readonly #slices: readonly string[]
  readonly #onState: (state: Fields, change: StateChange | undefined) => void
  readonly #onChange: () => void
  #patterns: readonly string[] = []
  #mode: PanelMode = 'full'
  #subscription: { close(): void; readonly position: string | undefined } | undefined
  #earlierSubscription: { close(): void } | undefined
  /** Increases with each change that makes requested pages obsolete. */
  #tries = 0
  #isJoining = false
  /** The offset of the newest event of a join that may contain merged events, whose first offset is unknown. */
  #folded: number | undefined

  constructor(
    { client, requests }: { readonly client: Client; readonly requests: HubRequests },
    topic: string,
    {
      meters,
      rate,
      lastMax = joinedEvents,
      slices = [],
      onState = () => undefined,
      onChange,
    }: {
      readonly meters: Meters
      readonly rate: Rate
      readonly lastMax?: number
      /** The slices of the topic's state that `onState` gets. */
      readonly slices?: readonly string[]
      readonly onState?: (state: Fields, change: StateChange | undefined) => void
      readonly onChange: () => void
    },
  ) {
    this.#client = client
    this.#topic = topic
    this.#meters = meters
    this.#rate = rate
    this.#lastMax = lastMax
    this.#slices = ['$commands', ...slices]
    this.#onState = onState
    this.#onChange = onChange
    this.#history = new TopicHistory(requests, topic)
  }

  /** Follows the topic by another filter. The events of the former one are shown until the join is complete. */
  choose(patterns: readonly string[], mode: PanelMode): void {
    this.#patterns = patterns
    this.#mode = mode
    this.#tries += 1
    this.loading = undefined
    this.log.choose(patterns)
    this.#earlierSubscription?.close()
    this.#earlierSubscription = this.#subscription
    this.#isJoining = true
    let joining: PanelEvent[] | undefined = []
    this.#subscription = this.#client.subscribe(
      {
        topic: this.#topic,
        mode,
        last: this.#lastMax,
        slices: this.#slices,
        ...(patterns.length > 0 && { types: patterns }),
      },
      {
        onEvent: (event) => {
          if (joining !== undefined) joining.push(event)
          else this.log.put(event)
          if (event.replay !== true) {
            const time = clientClock.now()
            this.#rate.count(time)
            this.#meters.total.count(time)
            this.#meters.lag.count(event.time, time)
          }
          // Shown events may be merged ones, so all are read again. They replace the shown ones when they have arrived.
          if (event.type === 'redacted' && event.replay !== true) this.choose(patterns, mode)
          this.#onChange()
        },
        onState: (state, change) => {
          this.#onState(state, change)
          this.commands = fieldsOf(state['$commands'])
          this.#onChange()
        },
        onGap: ({ reason, dropped, after, offset }) => {
          const now = clientClock.now()
          if (reason === 'epoch') {
            this.#meters.gaps.add('epoch')
            this.#history.epoch = ''
            this.log.beginAnew('The session has a new epoch: its offsets start again.', now)
          } else {
            this.#meters.gaps.add(`${reason} ${after} ${offset}`)
            const lost = dropped === undefined ? 'events' : countText(dropped, 'event')
            this.log.notice(`Gap: ${lost} could not be delivered (${reason}).`, now, 'gap')
          }
          this.#onChange()
        },
        onLive: () => {
          this.live = true
          if (joining !== undefined) {
            // Merged events count once, so fewer events than requested are not necessarily all.
            const [, newest = Number.POSITIVE_INFINITY] = positionOf(this.#subscription?.position)
            this.log.join(joining, joining.length === 0 || newest <= this.#lastMax)
            this.#folded = joining.length < this.#lastMax && !this.log.whole ? newest : undefined
            joining = undefined
            // Pages that are being loaded belong to the former filter.
            this.#tries += 1
            this.loading = undefined
            this.#isJoining = false
            this.#earlierSubscription?.close()
            this.#earlierSubscription = undefined
          }
          this.#onChange()
        },
        onEnd: ({ code, reason }) => {
          if (code === 'closed') return
          this.ended = reason
          this.log.notice(`The hub ended this subscription: ${reason}`, clientClock.now(), 'ended')
          this.#onChange()
        },
      },
    )
    this.#onChange()
  }

  close(): void {
    this.#tries += 1
    this.#subscription?.close()
    this.#earlierSubscription?.close()
  }

  /** Loads events before the first shown one. @param keepScroll is called before they are inserted */
  async earlier(keepScroll: () => void): Promise<void> {
    const { log } = this
    if (log.whole || log.first === 0 || this.loading !== undefined) return
    await this.#unfold(keepScroll)
    if (log.whole) return
    await this.#load('earlier', { before: log.first }, pageEvents, ({ events, end }) => {
      keepScroll()
      log.precede(events, end)
    })
  }

  /** Loads events after the last shown one, while the end is away. */
  async later(): Promise<void> {
    const { log } = this
    if (!log.away) return
    await this.#load('later', { after: log.last }, pageEvents, ({ events, end }) => log.follow(events, end))
  }

  /** Loads the events of a join again, unmerged, so that the offset of the first one is known. */
  async #unfold(keepScroll: () => void): Promise<void> {
    const [folded, tries, { part }] = [this.#folded, this.#tries, this.log]
    if (folded === undefined || this.log.away) return
    this.#folded = undefined
    const events: PanelEvent[] = []
    try {
      this.#prepare()
      const chosen = { patterns: this.#patterns, mode: this.#mode }
      let whole = false
      for await (const page of this.#history.pages(chosen, { before: folded + 1 }, this.#lastMax)) {
        events.push(...page.events)
        whole = page.end
        if (events.length >= this.#lastMax) break
      }
      if (tries !== this.#tries || part !== this.log.part) return
      keepScroll()
      this.log.unfold(
        events.toSorted((one, other) => one.offset - other.offset),
        whole,
      )
    } catch (error) {
      this.#folded = folded
      this.refused = error instanceof Error ? error.message : String(error)
    }
    this.#onChange()
  }

  /**
   * Shows the part of the history around an event.
   *
   * @returns its row; undefined if the event is not retained, or excluded by the filter
   */
  async goTo(offset: number): Promise<Row | undefined> {
    const loaded = this.rowOf(offset)
    if (loaded !== undefined) return loaded
    const { log } = this
    let before: readonly PanelEvent[] = []
    let whole = false
    await this.#load('there', { before: offset }, eventsBefore, (page) => {
      before = page.events
      whole = page.end
    })
    await this.#load('there', { after: offset - 1 }, pageEvents, ({ events, end }) =>
      log.goTo([...before, ...events], { whole, end }),
    )
    return this.rowOf(offset)
  }

  /** @returns the row that shows an event; undefined if it is not loaded */
  rowOf(offset: number): Row | undefined {
    if (offset < this.log.first || offset > this.log.last) return undefined
    return this.log.rows.findLast(
      (row) => row.kind !== 'date' && row.kind !== 'notice' && row.offset <= offset && offset <= row.last,
    )
  }

  /** Shows the oldest events that the hub retains. */
  async toBeginning(): Promise<void> {
    const { log } = this
    if (log.whole) return
    await this.#load('there', { after: 0 }, pageEvents, ({ events, end }) =>
      log.goTo(events, { whole: true, end }),
    )
  }

  /**
   * Searches the loaded events, and the history before and after them.
   *
   * @param keepScroll see `earlier`
   */
  find(
    matches: (row: Row) => boolean,
    sought: { readonly q?: string; readonly errors?: boolean },
    keepScroll: () => void,
  ): Finder {
    const { log } = this
    const finder = new Finder(matches)
    const froms = (): From[] => [
      ...(log.whole || log.first === 0 ? [] : [{ before: log.first }]),
      ...(log.away ? [{ after: log.last }] : []),
    ]
    const search = async () => {
      await this.#unfold(keepScroll)
      this.#prepare()
      const chosen = { patterns: this.#patterns, mode: this.#mode, ...sought }
      await finder.search(this.#history, chosen, froms(), this.#onChange)
    }
    finder.begin(search())
    return finder
  }

  /** Makes sure that a match is loaded. @returns its row */
  async rowOfMatch({ offset, row }: Match): Promise<Row | undefined> {
    return row ?? (await this.goTo(offset))
  }

  /** Gives the history the epoch of the subscription. */
  #prepare(): void {
    const [epoch] = positionOf(this.#subscription?.position)
    if (epoch !== undefined) this.#history.epoch = epoch
  }

  async #load(
    what: NonNullable<PanelFeed['loading']>,
    from: From,
    limit: number,
    take: (page: Awaited<ReturnType<TopicHistory['page']>>) => void,
  ): Promise<void> {
    if (this.#isJoining || (this.loading !== undefined && what !== 'there')) return
    const tries = this.#tries
    const { part } = this.log
    this.loading = what
    this.refused = undefined
    this.#onChange()
    try {
      this.#prepare()
      const page = await this.#history.page({ patterns: this.#patterns, mode: this.#mode }, from, limit)
      // The page is dropped if another filter was chosen meanwhile, or if the part that it extends has changed.
      if (tries === this.#tries && (what === 'there' || part === this.log.part)) take(page)
    } catch (error) {
      this.refused = error instanceof Error ? error.message : String(error)
    }
    if (tries === this.#tries) this.loading = undefined
    this.#onChange()
  }
}

/** @returns the epoch and the offset of a cursor */
function positionOf(cursor: string | undefined): [epoch?: string, offset?: number] {
  const [, epoch, offset] = /^([^:]+):(\d+)/.exec(cursor ?? '') ?? []
  return epoch === undefined ? [] : [epoch, Number(offset)]
}
