import type { Catalog } from '../catalog/catalog.js'
import { Delivery } from '../delivery/delivery.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { Masking } from '../mask/masking.js'
import type { Limits } from '../protocol/limits.js'
import { EventCheck } from '../session/event-check.js'
import type { Notice } from '../session/notice.js'
import type { Timeline } from '../session/timeline.js'
import type { Tracing } from '../session/tracing.js'
import { DueTimes } from '../sessions/due/due-times.js'
import { Leases } from '../sessions/due/leases.js'
import { StreamExpiries } from '../sessions/due/stream-expiries.js'
import { Forks } from '../sessions/forks/forks.js'
import { LogForks } from '../sessions/forks/log-forks.js'
import { LivingHubs } from '../sessions/log/living-hubs.js'
import { LogDuties } from '../sessions/log/log-duties.js'
import { LogRetention } from '../sessions/log/log-retention.js'
import { LogTexts } from '../sessions/log/log-texts.js'
import { LoggedPast } from '../sessions/log/logged-past.js'
import { Submitting } from '../sessions/log/submitting.js'
import { OwnEvents } from '../sessions/own-events.js'
import { Publishing } from '../sessions/publishing.js'
import { LogRedacting } from '../sessions/redact/log-redacting.js'
import type { Change } from '../sessions/redact/redact-memory.js'
import { Sessions } from '../sessions/sessions.js'
import { findWindow, type ReadStored, readStored } from '../sessions/stored/read-stored.js'
import { HeldTexts } from '../sessions/texts/held-texts.js'
import type { StreamRecord } from '../store/store.js'
import type { HubOptions } from './hub-options.js'

/** What a hub is made of. */
export interface Parts {
  readonly sessions: Sessions
  readonly delivery: Delivery
  readonly publishing: Publishing
  readonly leases: Leases
  /** When commands expire, and when what is silent or busy for long counts as stuck. */
  readonly times: readonly DueTimes[]
  readonly readStored: ReadStored
  /** Present where a log gives the offsets. */
  readonly submitting: Submitting | undefined
  /** Texts that are kept back in part; absent where nothing is masked. */
  readonly texts: HeldTexts | undefined
  /** The same, of the sessions of a log. */
  readonly logTexts: LogTexts | undefined
  readonly duties: LogDuties | undefined
  readonly expiries: StreamExpiries
  /** Present where old sessions of a log are removed. */
  readonly retention: LogRetention | undefined
  readonly living: LivingHubs | undefined
  readonly forks: Forks
  readonly logRedacting: LogRedacting | undefined
}

/** What all parts have in common. */
interface Common {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly tracing: Tracing | undefined
  /** Those who want to be told of what happens in sessions. */
  readonly notices: ReadonlySet<(notice: Notice) => void>
  /** A session of a log is redacted. */
  readonly redacted: (change: Change) => void
  /** Absent where nothing is masked. */
  readonly masking: Masking | undefined
  /** Finds a durable stream, and removes it if it has expired. */
  readonly findStream: (session: string) => Promise<StreamRecord | undefined>
}

/** Puts a hub together: what is published goes from the sessions to delivery, which asks them for topics and stored pages. */
export function partsOf(common: Common, options: HubOptions): Parts {
  const { catalog, clock, limits } = common
  const { log } = options
  if (log !== undefined && options.store !== undefined) {
    throw new TypeError('log: a hub has a log or a store, and was given both')
  }
  const { ageMs, ...bounds } = options.retention ?? {}
  if (log !== undefined && Object.keys(bounds).length > 0) {
    throw new TypeError(`retention.${Object.keys(bounds)[0]}: over a log sessions are removed by age alone`)
  }
  const hub = log === undefined ? '' : common.random.id()
  const leases: Leases = new Leases(
    clock,
    (session, worker) => {
      if (duties === undefined) return own.runOut(session, worker)
      duties.runOut(session, worker)
      return 0
    },
    log && ((session, worker, ms) => duties?.renew(session, worker, ms)),
  )
  const commandTimes: DueTimes = new DueTimes(clock, (session) => (duties ?? own).expire(session))
  const stallTimes: DueTimes = new DueTimes(clock, (session, worker) =>
    (duties ?? own).stall(session, worker),
  )
  const times = [commandTimes, stallTimes]
  const { random, findStream: find } = common
  const expiries = new StreamExpiries({ clock, random, isShared: log !== undefined, find })
  const onDirty = (timeline: Timeline): void => delivery.flush.onDirty(timeline)
  const sessions: Sessions = new Sessions({
    ...common,
    redacted: (change) => {
      past?.forget()
      common.redacted(change)
    },
    store: options.store,
    log: log && { log, hub },
    retention: options.retention,
    onStore: options.onStore,
    onDamaged: options.onDamaged,
    expose: options.expose ?? (() => true),
    onDirty,
    onLease: (session, worker, ms) => {
      if (log !== undefined) leases.follow(session, worker, ms)
      else if (!leases.has(session, worker)) leases.hold(session, worker, ms)
    },
    onHeld: (session, held, isOwn) => logTexts?.changed(session, held, isOwn),
    onDelivered: (session, worker, commands) => duties?.delivered(session, worker, commands),
    onWatchers: (session) => {
      living?.counted(session.id)
      delivery.watchersChanged(session)
    },
    onOver: (session) => {
      leases.dropAll(session)
      for (const one of times) one.dropAll(session)
    },
    onCommandDue: (session, at) => commandTimes.wait(session, undefined, at),
    onStallDue: (session, worker, at) => stallTimes.wait(session, worker, at),
    onStreamDue: (session, at) => expiries.wait(session, at),
    onRemoved: (session) => {
      expiries.drop(session.id)
      delivery.removed(session)
    },
    onStale: (session) => delivery.stale(session),
  })
  const { committing, topics } = sessions
  const held = (id: string) => sessions.held(id)
  const past: LoggedPast | undefined =
    log &&
    sessions.followed &&
    new LoggedPast({ log, clock, catalog, followed: sessions.followed, aside: sessions.asideSetting })
  const readStoredEvents: ReadStored =
    past?.read ?? ((topic, filter, part) => readStored({ committing, catalog }, topic, filter, part))
  const delivery = new Delivery({
    ...common,
    report: options.report ?? ((error) => console.error(error)),
    presence: log && {
      hub,
      held,
      submit: async (session, worker, watchersOf) => {
        await submitting?.own(session, (opened) => {
          const watchers = watchersOf(opened)
          return watchers === undefined ? [] : [{ kind: 'watchers', worker, watchers }]
        })
      },
    },
    topics: {
      topicToFollow: (name, permissions) => topics.toFollow(name, permissions),
      mayForget: (topic) => sessions.mayForget(topic),
      deliver: (topic, filter, after) => sessions.deliver(topic, filter, after),
      setWatchers: (topic, watchers) => sessions.setWatchers(topic, watchers),
      readStored: readStoredEvents,
      findWindow: (topic, query) =>
        findWindow({ committing, read: readStoredEvents, looksMax: limits.historyLooksMax }, topic, query),
    },
  })
  const check = new EventCheck(limits, catalog)
  const parts = { catalog, clock, sessions, check, onDirty }
  const own = new OwnEvents(parts)
  const { masking } = common
  const texts = masking && new HeldTexts({ ...parts, masking })
  const publishing = new Publishing({ ...parts, limits, own, masking, texts })
  const { followed } = sessions
  const release = async (session: string, isAll: boolean) =>
    (await submitting?.release(session, { isAll })) ?? 0
  const logTexts: LogTexts | undefined = log && masking && new LogTexts({ ...common, masking, release })
  const submitting: Submitting | undefined =
    log &&
    followed &&
    new Submitting({
      ...parts,
      log,
      hub,
      limits,
      followed,
      masking,
      texts: logTexts,
      tracing: common.tracing,
    })
  const watched = { leases, commandTimes, stallTimes, lost: own.lost }
  const duties: LogDuties | undefined =
    submitting && new LogDuties({ clock, random: common.random, catalog, check, submitting, ...watched })
  const { asideSetting: aside } = sessions
  const forks = new Forks({ ...common, sessions, log: log && new LogForks({ log, catalog, aside }) })
  const logRedacting =
    submitting &&
    log &&
    new LogRedacting({ log, sessions, submitting, catalog, isMasking: masking !== undefined, aside })
  const inMemory = () => [...sessions.inMemory()]
  const retention =
    log && ageMs !== undefined ? new LogRetention({ log, clock, ageMs, held: inMemory }) : undefined
  const gone = (session: string, of: string) => duties?.hubGone(session, of)
  const living: LivingHubs | undefined = log && new LivingHubs({ log, clock, hub, held, gone })
  const more = { texts, logTexts, submitting, duties, expiries, forks, logRedacting, retention, living }
  return { sessions, delivery, publishing, leases, times, readStored: readStoredEvents, ...more }
}
