import type { Timer } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { ClientFrame } from '../protocol/frames.js'
import type { Dial, Dialling, Link, LinkEvents, LinkFrame, TransportName } from './link.js'
import { type Member, Relay } from './relay.js'
import type { ClientClock } from './surroundings.js'

/** The part of the Web Locks API that is needed here. */
interface Locks {
  request(
    name: string,
    options: { readonly signal?: AbortSignal; readonly steal?: boolean },
    holding: () => void | Promise<void>,
  ): Promise<void>
}

interface Channel {
  onmessage: ((event: { readonly data: unknown }) => void) | null
  postMessage(message: unknown): void
  close(): void
}

const { BroadcastChannel, navigator } = globalThis as unknown as {
  readonly BroadcastChannel?: new (name: string) => Channel
  readonly navigator?: { readonly locks?: Locks }
}

/** A message from the leading tab to another one. */
type Down =
  /** The tab leads, and will send `welcome` when it is connected. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'frame'; readonly frame: LinkFrame; readonly transport: TransportName }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }

/** A message from another tab to the leading one. */
type Up =
  | { readonly kind: 'frames'; readonly frames: readonly ClientFrame[] }
  /** This many frames have been read. */
  | { readonly kind: 'read'; readonly frames: number }
  | { readonly kind: 'bye' }

/** A message to all tabs. */
type Called = { readonly kind: 'join'; readonly id: string } | { readonly kind: 'leads' }

/** How long the leading tab, which may be frozen, may take to answer before another one replaces it. */
const answerMsMax = 3_000
/** A frozen tab reads nothing; it is dropped before its frames fill the browser's memory. */
const unreadFramesMax = 5_000
const readFrames = 500

export interface Tabs {
  /** Tabs of the same name share one connection. */
  readonly name: string
  readonly clock: ClientClock
  readonly random: Random
}

/**
 * Opens a link that all tabs of one origin share. Where the browser has no Web Locks (they need a secure context) or
 * no BroadcastChannel, it is a link of the tab's own.
 */
export function dialTabs(dial: Dial, tabs: Tabs, dialling: Dialling, events: LinkEvents): Link {
  if (navigator?.locks === undefined || BroadcastChannel === undefined) return dial(dialling, events)
  return new TabLink(dial, tabs, dialling, events, navigator.locks, BroadcastChannel)
}

/**
 * A tab's part of the shared link. The tab that holds the lock leads: it has the connection, and a relay for the others. Each
 * other tab waits for this lock, so that it learns at once when the leading tab has gone. It also holds a lock of its own, from
 * which the leading tab learns the same about it. A tab that loses the link dials again, as after any interruption, and each
 * client resumes from its own position, so nothing is lost or repeated.
 */
class TabLink implements Link {
  readonly #dial: Dial
  readonly #tabs: Tabs
  readonly #dialling: Dialling
  readonly #events: LinkEvents
  readonly #locks: Locks
  readonly #Channel: new (
    name: string,
  ) => Channel
  readonly #id: string
  /** The channel that all tabs receive. */
  readonly #hall: Channel
  /** The channel between this tab and the leading one. */
  readonly #line: Channel
  readonly #abort = new AbortController()
  #timer: Timer | undefined
  #release: (() => void)[] = []
  #phase: 'joining' | 'joined' | 'leading' | 'over' = 'joining'
  #transport: TransportName = 'websocket'
  #read = 0
  // While this tab leads:
  #relay: Relay | undefined
  #link: Link | undefined
  readonly #self: Member = { frame: (frame) => this.#events.frame(frame) }
  readonly #others = new Map<string, OtherTab>()

  constructor(
    dial: Dial,
    tabs: Tabs,
    dialling: Dialling,
    events: LinkEvents,
    locks: Locks,
    Channel: new (name: string) => Channel,
  ) {
    this.#dial = dial
    this.#tabs = tabs
    this.#dialling = dialling
    this.#events = events
    this.#locks = locks
    this.#Channel = Channel
    this.#id = tabs.random.id()
    this.#hall = new Channel(tabs.name)
    this.#line = new Channel(`${tabs.name} ${this.#id}`)
    this.#hall.onmessage = ({ data }) => this.#called(data as Called)
    this.#line.onmessage = ({ data }) => this.#receive(data as Down)
    // Its own lock first, because the leading tab requests it as soon as it lets this tab in.
    this.#hold(`${tabs.name} ${this.#id}`, {}, () => {
      this.#join()
      this.#hold(tabs.name, { signal: this.#abort.signal }, () => this.#free())
      // A tab that is only slow may still answer first.
      this.#timer = tabs.clock.after(answerMsMax, () =>
        this.#hold(tabs.name, { steal: true }, () => this.#free()),
      )
    })
  }

  get transport(): TransportName {
    return this.#relay?.transport ?? this.#transport
  }

  send(frames: readonly ClientFrame[]): void {
    if (this.#phase === 'leading') this.#relay?.send(this.#self, frames)
    else if (this.#phase === 'joined') this.#line.postMessage({ kind: 'frames', frames } satisfies Up)
  }

  close(code: number, reason: string): void {
    if (this.#phase === 'over') return
    if (this.#phase === 'joined') this.#line.postMessage({ kind: 'bye' } satisfies Up)
    this.#link?.close(code, reason)
    this.#leave(1006, 'the tab that had the connection has left it')
  }

  /** Acquires a lock and holds it until the link is over; calls `held` when it has it. */
  #hold(name: string, options: Parameters<Locks['request']>[1], held: () => void): void {
    const holding = () =>
      new Promise<void>((release) => {
        if (this.#phase === 'over') return release()
        this.#release.push(release)
        held()
      })
    // Rejected when this tab no longer waits for it, or another tab has taken it.
    this.#locks.request(name, options, holding).catch(() => {
      if (this.#phase === 'leading') this.#end(1006, 'another tab has taken the connection over')
    })
  }

  #join(): void {
    this.#hall.postMessage({ kind: 'join', id: this.#id } satisfies Called)
  }

  /** Nobody leads any more. */
  #free(): void {
    if (this.#phase === 'joining') this.#lead()
    // All tabs that had joined learn this one after the other; the first that dials leads.
    else if (this.#phase === 'joined') this.#end(1006, 'the tab that had the connection has gone')
  }

  #lead(): void {
    this.#phase = 'leading'
    this.#timer?.cancel()
    // Subscription numbers are those of this tab, not of the link.
    const { base, token } = this.#dialling
    const link = this.#dial(
      { base, token },
      {
        frame: (frame) => this.#relay?.frame(frame),
        heard: () => this.#events.heard(),
        closed: (code, reason) => this.#end(code, reason),
      },
    )
    this.#link = link
    this.#relay = new Relay(link)
    this.#relay.add(this.#self)
    this.#hall.postMessage({ kind: 'leads' } satisfies Called)
  }

  #called(called: Called): void {
    if (called.kind === 'leads' && this.#phase === 'joining') this.#join()
    if (called.kind === 'join' && this.#phase === 'leading') this.#letIn(called.id)
  }

  #letIn(id: string): void {
    const relay = this.#relay
    if (relay === undefined || this.#others.has(id)) return
    const name = `${this.#tabs.name} ${id}`
    const other = new OtherTab(new this.#Channel(name), relay, () => this.#others.delete(id))
    this.#others.set(id, other)
    this.#locks.request(name, { signal: other.gone }, () => other.leave()).catch(() => undefined)
    other.enter()
  }

  #receive(down: Down): void {
    if (this.#phase !== 'joining' && this.#phase !== 'joined') return
    switch (down.kind) {
      case 'hello':
        return this.#timer?.cancel()
      case 'closed':
        // The token of the other tab does not matter for this one, which must find out itself whether its own is valid.
        return this.#end(down.code < 4_500 ? down.code : 1006, down.reason)
      case 'frame':
        this.#timer?.cancel()
        this.#phase = 'joined'
        this.#transport = down.transport
        this.#read += 1
        if (this.#read % readFrames === 0) {
          this.#line.postMessage({ kind: 'read', frames: readFrames } satisfies Up)
        }
        this.#events.frame(down.frame)
    }
  }

  #end(code: number, reason: string): void {
    if (this.#phase === 'over') return
    this.#link?.close(1000, '')
    this.#leave(code, reason)
    this.#events.closed(code, reason)
  }

  #leave(code: number, reason: string): void {
    this.#phase = 'over'
    this.#timer?.cancel()
    for (const other of this.#others.values()) other.dismiss(code, reason)
    this.#hall.close()
    this.#line.close()
    this.#abort.abort()
    for (const release of this.#release) release()
  }
}

/** Another tab, from the view of the leading one. */
class OtherTab implements Member {
  readonly #line: Channel
  readonly #relay: Relay
  readonly #left: () => void
  readonly #abort = new AbortController()
  #unread = 0

  constructor(line: Channel, relay: Relay, left: () => void) {
    this.#line = line
    this.#relay = relay
    this.#left = left
    line.onmessage = ({ data }) => this.#receive(data as Up)
  }

  /** Aborted when its end no longer matters. */
  get gone(): AbortSignal {
    return this.#abort.signal
  }

  enter(): void {
    this.#line.postMessage({ kind: 'hello' } satisfies Down)
    this.#relay.add(this)
  }

  frame(frame: LinkFrame): void {
    this.#unread += 1
    if (this.#unread > unreadFramesMax) return this.dismiss(4001, 'the tab does not read')
    this.#line.postMessage({ kind: 'frame', frame, transport: this.#relay.transport } satisfies Down)
  }

  /** Sends it away; it comes back by itself. */
  dismiss(code: number, reason: string): void {
    this.#line.postMessage({ kind: 'closed', code, reason } satisfies Down)
    this.leave()
  }

  leave(): void {
    this.#relay.remove(this)
    this.#line.close()
    this.#abort.abort()
    this.#left()
  }

  #receive(up: Up): void {
    switch (up.kind) {
      case 'frames':
        return this.#relay.send(this, up.frames)
      case 'read':
        this.#unread -= up.frames
        return
      case 'bye':
        return this.leave()
    }
  }
}
