import assert from 'node:assert/strict'
import { Unpackr } from 'msgpackr'
import { pack } from '../../src/client/pack.js'
import type { ClientFrame, HubFrame, Subscribe } from '../../src/protocol/frames.js'

interface Closing {
  readonly code: number
  readonly reason: string
}

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true })

/** A network of WebSockets whose far end is the test itself. */
export class FakeNetwork {
  /** Every socket that was made, in order. */
  readonly sockets: FakeSocket[] = []
  /** The class to hand to `connect`. */
  readonly WebSocket: new (
    url: string,
    protocols: string[],
  ) => FakeSocket

  constructor() {
    const { sockets } = this
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols)
        sockets.push(this)
      }
    }
  }

  /** The newest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1)
    assert(socket !== undefined, 'expected the client to have dialled')
    return socket
  }
}

/** A WebSocket that goes nowhere: the test reads what was sent and says what comes. */
export class FakeSocket {
  readonly url: string
  readonly protocols: readonly string[]
  binaryType = 'blob'
  onopen: ((event: never) => void) | null = null
  onmessage: ((event: never) => void) | null = null
  onclose: ((event: never) => void) | null = null
  onerror: ((event: never) => void) | null = null
  /** How the client closed it. */
  closedWith: Closing | undefined
  #sent: ClientFrame[] = []

  constructor(url: string, protocols: string[]) {
    this.url = url
    this.protocols = protocols
  }

  get #binary(): boolean {
    return this.protocols[0] === 'runcast.v1.msgpack'
  }

  send(data: string | Uint8Array): void {
    assert.equal(typeof data === 'string', !this.#binary, 'expected frames in the codec that was agreed on')
    this.#sent.push((typeof data === 'string' ? JSON.parse(data) : unpackr.unpack(data)) as ClientFrame)
  }

  close(code = 1005, reason = ''): void {
    this.closedWith ??= { code, reason }
  }

  /** @returns what the client has sent since the last call. */
  take(): ClientFrame[] {
    const sent = this.#sent
    this.#sent = []
    return sent
  }

  /** @returns the one `subscribe` that the client has sent since the last call. */
  takeSubscribe(): Subscribe {
    const [frame, ...others] = this.take()
    assert(frame?.type === 'subscribe' && others.length === 0, 'expected one subscribe')
    return frame
  }

  welcome(heartbeatMs = 25_000): void {
    const limits = { frameBytesMax: 1_048_576, subscriptionsMax: 10_000, filterTypesMax: 64 }
    this.say({ type: 'welcome', connection: `c${heartbeatMs}`, version: 1, heartbeatMs, limits })
  }

  say(...frames: HubFrame[]): void {
    for (const frame of frames) {
      const data = this.#binary ? pack(frame).buffer : JSON.stringify(frame)
      this.onmessage?.({ data } as never)
    }
  }

  /** Lets bytes come that are no frame. */
  sayBytes(bytes: Uint8Array<ArrayBuffer>): void {
    this.onmessage?.({ data: bytes.buffer } as never)
  }

  /** The link ends from outside: 1006 is a cut. */
  cut(code = 1006, reason = ''): void {
    if (code === 1006) this.onerror?.({} as never)
    this.onclose?.({ code, reason } as never)
  }
}
