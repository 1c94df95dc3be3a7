import type { Timer } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import { closeCodes, invitesReconnect } from '../protocol/codes.js'
import type { ClientFrame, Subscribe, Welcome } from '../protocol/frames.js'
import { isSendable } from '../protocol/token.js'
import type { Dial, Link, LinkFrame, TransportName } from './link.js'
import type { ClientClock, Page } from './surroundings.js'

/** Links open, but end before all subscriptions have caught up. */
export interface CutShort {
  /** The number of such links in a row, at least two. */
  readonly links: number
  /** Why the last of them ended. */
  readonly code: number
  readonly reason: string
}

/** The status of a connection. */
export type Status =
  | { readonly kind: 'connecting'; readonly attempt: number; readonly cutShort?: CutShort }
  | {
      readonly kind: 'open'
      readonly connection: string
      readonly transport: TransportName
      readonly cutShort?: CutShort
    }
  /** Lost or not reached; tries again in `retryMs`. */
  | {
      readonly kind: 'waiting'
      readonly retryMs: number
      readonly code: number
      readonly reason: string
      readonly cutShort?: CutShort
    }
  | { readonly kind: 'paused'; readonly why: 'offline' | 'hidden' }
  /** Closed permanently: by the client (1000), or by the hub with a code that does not invite a reconnect. */
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }

export interface BackoffOptions {
  /** About how long to wait before the second attempt; it doubles with each one. Milliseconds. */
  readonly firstMs: number
  /** The longest wait. Milliseconds. */
  readonly mostMs: number
}

export interface PauseOptions {
  /** Closes the link and waits while the browser says that it is offline. */
  readonly offline?: boolean
  /** Closes the link after the page has been hidden for this many milliseconds, until it is shown again. */
  readonly hiddenMs?: number
}

/** Where tokens come from. */
export interface TokenSource {
  ask(): string | undefined | Promise<string | undefined>
  /** Whether the next token may be accepted where the last one was refused for this reason. */
  mayRenew(reason: string): boolean
}

export interface ReconnectOptions {
  readonly base: string
  readonly tokens: TokenSource
  /** The most restrictive carrier of the token. */
  readonly carrier: 'header' | 'subprotocol'
  /** The ways to connect, the best first; the next one is tried as long as none has ever opened. */
  readonly dials: readonly Dial[]
  readonly backoff: BackoffOptions
  readonly pause: PauseOptions
  readonly clock: ClientClock
  readonly random: Random
  readonly page: Page
}

export interface ReconnectEvents {
  /** Called for a link that can send subscriptions while dialling. */
  greeting(): readonly Subscribe[]
  /** The hub has sent `welcome`; `asked` are the subscriptions that the link has already sent. */
  opened(asked: readonly Subscribe[] | undefined): void
  /** Any frame but `welcome`, `pong` and `closing`. */
  frame(frame: LinkFrame): void
  /** Whether all subscriptions are live. */
  isThrough(): boolean
  /** The open link was lost. */
  lost(): void
  status(status: Status): void
}

/** From dialling to `welcome`. */
const openMsMax = 10_000
/** After a link of this duration the waits begin short again. */
const steadyMs = 2_000
/** How long a hub may take to answer `ping`. */
const pongMsMax = 10_000

/** A link that reconnects by itself: it dials, checks that the hub is alive, and dials again if it is not. */
export class Reconnecting {
  readonly #options: ReconnectOptions
  readonly #events: ReconnectEvents
  #status: Status = { kind: 'connecting', attempt: 0 }
  #link: Link | undefined
  /** The subscriptions that the link sent while dialling. */
  #asked: readonly Subscribe[] | undefined
  /** Changes with every attempt, so that late events of an abandoned one are ignored. */
  #attemptMark = {}
  #attempt = 0
  /** The index of the next dial; fixed when the best one has opened. */
  #dial = 0
  #bestHasOpened = false
  /** The links in a row that ended too soon. */
  #cutShort: CutShort | undefined
  #openedAt = 0
  #heardAt = 0
  #heartbeatMs = 0
  #pinged = false
  /** The wait that the hub requested when it closed. */
  #askedMs = 0
  /** The only timer of the phase: to open, to receive, or to try again. */
  #timer: Timer | undefined
  #hiddenTimer: Timer | undefined
  #hiddenTooLong = false
  readonly #unwatch: () => void

  constructor(options: ReconnectOptions, events: ReconnectEvents) {
    this.#options = options
    this.#events = events
    this.#unwatch = options.page.watch(() => this.#pageChanged())
  }

  get status(): Status {
    return this.#status
  }

  start(): void {
    this.#pageChanged()
    if (this.#status.kind !== 'paused') this.#connect()
  }

  /** Sends at once when the link is open. @returns whether it is */
  send(frames: readonly ClientFrame[]): boolean {
    if (this.#status.kind !== 'open') return false
    if (frames.length > 0) this.#link?.send(frames)
    return true
  }

  /** More data of the subscriptions has arrived. */
  arrived(): void {
    const status = this.#status
    if (this.#cutShort === undefined || status.kind !== 'open' || !this.#events.isThrough()) return
    this.#cutShort = undefined
    const { cutShort, ...open } = status
    this.#status = open
    if (cutShort !== undefined) this.#events.status(open)
  }

  /** @returns whether the token can be sent. If not, no attempt could succeed, so this closes the client. */
  expectSendable(token: string | undefined): boolean {
    if (token === undefined || isSendable(token, this.#options.carrier)) return true
    this.close(closeCodes.unauthorized, 'The token cannot be sent.')
    return false
  }

  /** Ends for good. */
  close(code: number, reason: string): void {
    if (this.#status.kind === 'closed') return
    this.#drop(code, reason)
    this.#unwatch()
    this.#hiddenTimer?.cancel()
    this.#become({ kind: 'closed', code, reason })
  }

  #become(status: Status): void {
    const wasOpen = this.#status.kind === 'open'
    this.#status = status
    if (wasOpen) this.#events.lost()
    this.#events.status(status)
  }

  /** A single link may end at any time. */
  get #trouble(): { readonly cutShort?: CutShort } {
    const cutShort = this.#cutShort
    return cutShort !== undefined && cutShort.links > 1 ? { cutShort } : {}
  }

  /** Forgets the current attempt or link. */
  #drop(code: number, reason: string): void {
    this.#attemptMark = {}
    this.#timer?.cancel()
    this.#timer = undefined
    this.#link?.close(code, reason)
    this.#link = undefined
    this.#asked = undefined
  }

  #connect(): void {
    this.#drop(1000, '')
    const mark = this.#attemptMark
    this.#attempt += 1
    this.#askedMs = 0
    this.#become({ kind: 'connecting', attempt: this.#attempt, ...this.#trouble })
    // A listener of the status may have closed the client.
    if (mark !== this.#attemptMark) return
    this.#timer = this.#options.clock.after(openMsMax, () => this.#retry(1006, 'the hub did not answer'))
    let token: string | undefined | Promise<string | undefined>
    try {
      token = this.#options.tokens.ask()
    } catch (error) {
      return this.#retry(closeCodes.internalError, `no token: ${String(error)}`)
    }
    if (!(token instanceof Promise)) return this.#dialWith(token, mark)
    token.then(
      (text) => this.#dialWith(text, mark),
      (error: unknown) => {
        if (mark === this.#attemptMark) this.#retry(closeCodes.internalError, `no token: ${String(error)}`)
      },
    )
  }

  #dialWith(token: string | undefined, mark: object): void {
    if (mark !== this.#attemptMark || !this.expectSendable(token)) return
    const { base, dials } = this.#options
    const dial = dials[this.#dial % dials.length] as Dial
    try {
      this.#link = dial(
        {
          base,
          token,
          greeting: () => (mark === this.#attemptMark ? (this.#asked = this.#events.greeting()) : []),
        },
        {
          frame: (frame) => {
            if (mark === this.#attemptMark) this.#frame(frame)
          },
          heard: () => {
            if (mark === this.#attemptMark) this.#heard()
          },
          closed: (code, reason) => {
            if (mark === this.#attemptMark) this.#closed(code, reason)
          },
        },
      )
    } catch (error) {
      this.#closed(1006, String(error))
    }
  }

  #frame(frame: LinkFrame): void {
    this.#heard()
    if (frame.type === 'welcome') this.#welcomed(frame)
    else if (frame.type === 'closing') this.#askedMs = Math.min(frame.retryMs, this.#options.backoff.mostMs)
    else if (frame.type !== 'pong') this.#events.frame(frame)
  }

  #welcomed(welcome: Welcome): void {
    const { clock, dials } = this.#options
    if (this.#dial % dials.length === 0) this.#bestHasOpened = true
    this.#openedAt = clock.elapsed()
    this.#heartbeatMs = welcome.heartbeatMs
    this.#timer?.cancel()
    this.#listen(this.#heartbeatMs)
    const transport = (this.#link as Link).transport
    this.#become({ kind: 'open', connection: welcome.connection, transport, ...this.#trouble })
    this.#events.opened(this.#asked)
  }

  #heard(): void {
    this.#heardAt = this.#options.clock.elapsed()
    this.#pinged = false
  }

  /** One timer for the lifetime of the link, for any number of frames: it checks how long ago the last one was. */
  #listen(ms: number): void {
    this.#timer = this.#options.clock.after(ms, () => {
      const silentMs = this.#options.clock.elapsed() - this.#heardAt
      if (this.#pinged) return this.#retry(closeCodes.heartbeatMissed, 'the hub fell silent')
      if (silentMs < this.#heartbeatMs) return this.#listen(this.#heartbeatMs - silentMs)
      this.#pinged = true
      this.#link?.send([{ type: 'ping' }])
      this.#listen(Math.min(pongMsMax, this.#heartbeatMs))
    })
  }

  #closed(code: number, reason: string): void {
    this.#link = undefined
    // A token that was valid has expired: with a new one, the client resumes.
    const renews =
      code === closeCodes.unauthorized &&
      (this.#status.kind === 'open' || this.#options.tokens.mayRenew(reason))
    if (code >= 4000 && !invitesReconnect(code) && !renews) this.close(code, reason)
    else this.#retry(code, reason)
  }

  #retry(code: number, reason: string): void {
    const { clock, random, backoff, dials } = this.#options
    const opened = this.#status.kind === 'open'
    if (opened) {
      const links = 1 + (this.#cutShort?.links ?? 0)
      this.#cutShort = this.#events.isThrough() ? undefined : { links, code, reason }
    }
    this.#drop(code >= 4000 ? code : 1000, reason)
    if (opened && clock.elapsed() - this.#openedAt >= steadyMs) this.#attempt = 0
    this.#dial = this.#bestHasOpened || opened ? 0 : (this.#dial + 1) % dials.length
    // After a stable link the first wait is short. Half of each wait is random, so that the clients of a restarted hub do not
    // all reconnect at once.
    const mostMs = Math.min(backoff.mostMs, backoff.firstMs * 2 ** Math.min(this.#attempt, 30))
    const retryMs = Math.max(this.#askedMs, Math.round((mostMs * (1 + random.fraction())) / 2))
    this.#timer = clock.after(retryMs, () => this.#connect())
    this.#become({ kind: 'waiting', retryMs, code, reason, ...this.#trouble })
  }

  #pageChanged(): void {
    const { page, pause, clock } = this.#options
    if (this.#status.kind === 'closed') return
    if (!page.hidden) {
      this.#hiddenTimer?.cancel()
      this.#hiddenTimer = undefined
      this.#hiddenTooLong = false
    } else if (pause.hiddenMs !== undefined && this.#hiddenTimer === undefined) {
      this.#hiddenTimer = clock.after(pause.hiddenMs, () => {
        this.#hiddenTooLong = true
        this.#pageChanged()
      })
    }
    const why =
      pause.offline === true && page.offline ? 'offline' : this.#hiddenTooLong ? 'hidden' : undefined
    if (why !== undefined) {
      if (this.#status.kind === 'paused') return
      this.#drop(1000, why)
      this.#attempt = 0
      this.#become({ kind: 'paused', why })
    } else if (this.#status.kind === 'paused') {
      this.#connect()
    } else if (this.#status.kind === 'waiting' && !page.offline && !page.hidden) {
      // The network or the user is back, so there is no reason to wait.
      this.#connect()
    }
  }
}
