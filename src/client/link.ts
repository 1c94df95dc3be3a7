import type { ClientFrame, HubFrame, Subscribe } from '../protocol/frames.js'

export type TransportName = 'websocket' | 'sse'

/** Reported by the link itself: received data cannot be read. Closing the link would only bring the same data again. */
export interface Unread {
  readonly type: 'unread'
  readonly reason: string
}

/** A frame as a link passes it on. */
export type LinkFrame = HubFrame | Unread

/** One link to the hub. After it has closed every call does nothing. */
export interface Link {
  readonly transport: TransportName
  /** Sends in order. Only after the hub's `welcome`. */
  send(frames: readonly ClientFrame[]): void
  /** Closes without a call to `closed`. */
  close(code: number, reason: string): void
}

/** The calls of a link; none happens before `dial…` has returned. */
export interface LinkEvents {
  /** `welcome` is the first. */
  frame(frame: LinkFrame): void
  /** Data that is not a frame arrived, so the hub is alive. */
  heard(): void
  /** Called once. `code`: a close code of the protocol or of RFC 6455; 1006 if the link was cut or never opened. */
  closed(code: number, reason: string): void
}

export interface Dialling {
  /** `http(s)`, ending in a slash. */
  readonly base: string
  readonly token: string | undefined
  /**
   * The subscriptions, numbered for this link, for links that can send them while dialling, which saves a round trip. After
   * that only changes are passed to `send`.
   */
  readonly greeting?: () => readonly Subscribe[]
}

/** A way to the hub. */
export type Dial = (dialling: Dialling, events: LinkEvents) => Link
