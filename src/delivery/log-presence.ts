import type { Clock } from '../lib/clock.js'
import type { HubWatchers } from '../log/entries.js'
import { Session } from '../session/session.js'
import type { Topic } from '../session/topic.js'
import { areSame } from '../session/watching.js'
import type { Feeds } from './feeds.js'
import { countWatchers, watchersEveryMs } from './presence.js'

/** What presence needs over a log. */
export interface SharedPresence {
  /** The hub's own id. */
  readonly hub: string
  /** @returns the session if it is in memory */
  readonly held: (session: string) => Session | undefined
  /**
   * Submits this hub's watchers of a topic.
   *
   * @param watchersOf is called when the session is as far as the log; undefined if nothing has changed
   */
  readonly submit: (
    session: string,
    worker: string | undefined,
    watchersOf: (session: Session) => HubWatchers | undefined,
  ) => Promise<void>
}

interface Report {
  readonly session: string
  readonly worker: string | undefined
  /** Something has changed since it was made. */
  again: boolean
}

/**
 * Reports to the other hubs of a log who watches a topic here, while somebody asks at any of them. The sum is a function of the
 * log, so `$watchers` is the same, at the same offset, at all hubs.
 */
export class LogPresence {
  readonly #clock: Clock
  readonly #feeds: Feeds
  readonly #shared: SharedPresence
  readonly #reports = new Map<string, Report>()

  constructor(clock: Clock, feeds: Feeds, shared: SharedPresence) {
    this.#clock = clock
    this.#feeds = feeds
    this.#shared = shared
  }

  /** A subscription to the topic has begun, ended or changed, or another hub has counted. */
  changed({ timeline }: Topic): void {
    if (!(timeline instanceof Session) || (this.#feeds.asking === 0 && timeline.watching === undefined))
      return
    const workers = new Set(timeline.watching?.topics)
    for (const { asksWatchers, topic } of this.#feeds.followed(timeline)?.topics ?? []) {
      const name = topic.parsedName
      if (asksWatchers) workers.add(name.kind === 'worker' ? name.worker : undefined)
    }
    for (const worker of workers) this.#schedule(timeline.id, worker)
  }

  #schedule(session: string, worker: string | undefined): void {
    const key = worker === undefined ? session : `${session}/${worker}`
    const known = this.#reports.get(key)
    if (known !== undefined) {
      known.again = true
      return
    }
    const report: Report = { session, worker, again: false }
    this.#reports.set(key, report)
    this.#clock.after(0, () => this.#report(key, report))
  }

  #report(key: string, report: Report): void {
    report.again = false
    const { session, worker } = report
    const done = (): void => {
      this.#clock.after(watchersEveryMs, () => {
        if (report.again) this.#report(key, report)
        else this.#reports.delete(key)
      })
    }
    const held = this.#shared.held(session)
    if (held !== undefined && !hasBegun(held, worker)) {
      // What has not begun has no state, so it is checked again.
      report.again = this.#isAsked(held, worker)
      return done()
    }
    if (held !== undefined && this.#changedWatchers(held, worker) === undefined) return done()
    this.#shared
      .submit(session, worker, (opened) => this.#changedWatchers(opened, worker))
      .catch(() => {
        report.again = true
      })
      .finally(done)
  }

  /** @returns the watchers here; undefined if they are as before, or need not be counted */
  #changedWatchers(session: Session, worker: string | undefined): HubWatchers | undefined {
    if (!hasBegun(session, worker) || session.status === 'ended') return undefined
    const { hub } = this.#shared
    const asks = this.#isAsked(session, worker)
    const before = session.watching?.of(worker, hub)
    const isCounted = asks || session.watching?.isAsked(worker, hub) === true
    if (!isCounted && before === undefined) return undefined
    const counted = isCounted ? countWatchers(this.#feeds, topicOf(session, worker)) : undefined
    const { count = 0, subjects = new Set<string>() } = counted ?? {}
    const watchers = {
      hub,
      count,
      asks,
      ...(subjects.size > 0 && { subjects: [...subjects].sort() }),
    }
    return areSame(before ?? { hub, count: 0, asks: false }, watchers) ? undefined : watchers
  }

  /** Whether `$watchers` is followed here. */
  #isAsked(session: Session, worker: string | undefined): boolean {
    const topic = topicOf(session, worker)
    const topics = this.#feeds.followed(session)?.topics ?? []
    return topics.some((one) => one.asksWatchers && one.topic === topic)
  }
}

function topicOf(session: Session, worker: string | undefined): Topic | undefined {
  return worker === undefined ? session.topic : session.workers.get(worker)?.topic
}

function hasBegun(session: Session, worker: string | undefined): boolean {
  if (session.status === 'waiting') return false
  return worker === undefined || session.workers.get(worker)?.startedAt !== undefined
}
