import type { ClientFrame, HubFrame, Subscribe } from '../protocol/frames.js'

export type TransportName = 'websocket' | 'sse'

/** What came cannot be read. Said by the link itself: to close it would bring the same again. */
export interface Unread {
  readonly type: 'unread'
  readonly reason: string
}

/** What a link hands on. */
export type LinkFrame = HubFrame | Unread

/** One link to the hub. After it has closed every call does nothing. */
export interface Link {
  readonly transport: TransportName
  /** Sends in order. Only after the hub's `welcome`. */
  send(frames: readonly ClientFrame[]): void
  /** Closes without a call to `closed`. */
  close(code: number, reason: string): void
}

/** What a link calls; nothing before `dial…` has returned. */
export interface LinkEvents {
  /** `welcome` is the first. */
  frame(frame: LinkFrame): void
  /** Something came that is no frame, so the hub lives. */
  heard(): void
  /** Once. `code`: a close code of the protocol or of RFC 6455; 1006 when the link was cut or never opened. */
  closed(code: number, reason: string): void
}

export interface Dialling {
  /** `http(s)`, ending in a slash. */
  readonly base: string
  readonly token: string | undefined
  /**
   * What is followed, numbered for this link: for one that can ask for it as it is dialled, which saves a round trip.
   * Of what was asked for in this way, `send` is told only changes.
   */
  readonly greeting?: () => readonly Subscribe[]
}

/** A way to the hub. */
export type Dial = (dialling: Dialling, events: LinkEvents) => Link
