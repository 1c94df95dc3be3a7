import { Unpackr } from 'msgpackr/unpack'
import type { ClientFrame, HubFrame, Subscribe } from '../protocol/frames.js'
import { pack } from './pack.js'
import type { ClientClock, SocketClass } from './surroundings.js'
import type { Tabs } from './tabs.js'

export type CodecName = 'msgpack' | 'json'
export type TransportName = 'websocket' | 'sse'

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
  frame(frame: HubFrame): void
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

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

interface Message {
  readonly data: string | ArrayBuffer
}

interface Closing {
  readonly code: number
  readonly reason: string
}

/** @returns the frame; nothing when it is none. */
function read(data: string | ArrayBuffer): HubFrame | undefined {
  try {
    const frame = (
      typeof data === 'string' ? JSON.parse(data) : unpackr.unpack(new Uint8Array(data))
    ) as HubFrame | null
    return typeof frame?.type === 'string' ? frame : undefined
  } catch {
    // The link is closed for it.
    return undefined
  }
}

/** Opens a WebSocket. The token goes as a subprotocol: browsers can set no header, and URLs end up in logs. */
export function dialWebSocket(Socket: SocketClass, codec: CodecName): Dial {
  return ({ base, token }, events) => {
    const protocols = [`runcast.v1.${codec}`]
    if (token !== undefined) protocols.push(`bearer.${token}`)
    const socket = new Socket(`${base.replace('http', 'ws')}api/ws`, protocols)
    let open = true
    const end = (code: number, reason: string) => {
      if (!open) return
      open = false
      events.closed(code, reason)
    }
    socket.binaryType = 'arraybuffer'
    // A close event follows every error event, and says the same.
    socket.onerror = () => undefined
    socket.onclose = ({ code, reason }: Closing) => end(code, reason)
    socket.onmessage = ({ data }: Message) => {
      if (!open) return
      const frame = read(data)
      if (frame === undefined) {
        socket.close(4500)
        return end(1006, 'a frame that cannot be read')
      }
      events.frame(frame)
    }
    return {
      transport: 'websocket',
      send(frames) {
        if (!open) return
        for (const frame of frames) socket.send(codec === 'json' ? JSON.stringify(frame) : pack(frame))
      },
      close(code, reason) {
        if (!open) return
        open = false
        socket.close(code, reason)
      },
    }
  }
}

/** Opens a link of SSE and POST. */
export function dialSse(fetch: typeof globalThis.fetch, clock: ClientClock): Dial {
  return loaded(async (dialling, events) => {
    const { SseLink } = await import('./dial-sse.js')
    return () => new SseLink({ fetch, clock }, dialling, events)
  })
}

/** Opens a link by `dial` that the tabs of one name share. */
export function dialShared(dial: Dial, tabs: Tabs): Dial {
  return loaded(async (dialling, events) => {
    const { dialTabs } = await import('./tabs.js')
    return () => dialTabs(dial, tabs, dialling, events)
  })
}

/** A link whose code is loaded when it is dialled: most never need it. */
function loaded(load: (dialling: Dialling, events: LinkEvents) => Promise<() => Link>): Dial {
  return (dialling, events) => {
    let open = true
    let link: Link | undefined
    load(dialling, events).then(
      (make) => {
        if (open) link = make()
      },
      (error: unknown) => {
        if (open) events.closed(1006, String(error))
      },
    )
    return {
      // Asked for once it is open, so it has been loaded.
      get transport() {
        return (link as Link).transport
      },
      send: (frames) => link?.send(frames),
      close(code, reason) {
        open = false
        link?.close(code, reason)
      },
    }
  }
}
