// Longer than 350 lines: all that one WebSocket can ask for, one method each, and how each is answered; what waits is beside it.

import type { Connection } from '../../delivery/connection.js'
import type { StateChange } from '../../hub/state-change.js'
import { Bucket } from '../../lib/bucket.js'
import type { JsonValue } from '../../lib/json.js'
import { type Checked, checkFrame } from '../../protocol/check.js'
import { type CloseCode, ProtocolError } from '../../protocol/codes.js'
import type {
  Authorize,
  ClientFrame,
  ControlFrame,
  Failed,
  Lease,
  Merge,
  Patch,
  Publish,
  Set as SetState,
  Subscribe,
} from '../../protocol/frames.js'
import { formatTopic } from '../../protocol/topic.js'
import type { Edit } from '../../state/checked-change.js'
import type { Socket, SocketEvents } from '../../transport/transport.js'
import type { VerifiedGrant } from '../access/grant.js'
import { RateError } from '../access/rate-limits.js'
import type { LinkContext } from '../context.js'
import { largeBytes, turnFor } from '../http/body.js'
import { inTurns } from '../state-turns.js'
import { ConnectionLog } from './connection-log.js'
import type { IdleLink, IdleTimer } from './idle-timers.js'
import type { Closable } from './links.js'
import { SocketLink } from './socket-link.js'
import { WaitingFrames } from './waiting-frames.js'

export const subprotocols = ['runcast.v1.msgpack', 'runcast.v1.json'] as const
export type Subprotocol = (typeof subprotocols)[number]

export interface Welcome {
  readonly protocol: Subprotocol
  readonly address: string
  readonly grant: VerifiedGrant
  readonly receiveBytesMax?: number | undefined
}

/** One WebSocket client: what it asks for, and how the hub answers. */
export class Client implements SocketEvents, IdleLink, Closable {
  readonly #context: LinkContext
  readonly #socket: Socket
  readonly #connection: Connection
  readonly #idleTimer: IdleTimer
  readonly #binary: boolean
  readonly #log: ConnectionLog
  readonly #address: string
  readonly #frames: Bucket
  readonly #bytes: Bucket
  /** Absent until the first one comes. */
  #pulses: Bucket | undefined
  /** The newest request for other rights. */
  #authorizing: Authorize | undefined
  /** Absent until the first large one comes. */
  #waiting: WaitingFrames | undefined
  /** What a log was given and has not answered yet. Absent until the first. */
  #submitted: Set<Promise<void>> | undefined = undefined

  constructor(context: LinkContext, socket: Socket, { protocol, address, grant, receiveBytesMax }: Welcome) {
    const { hub, clock, rates, connectionGrants, idleTimers } = context
    this.#context = context
    this.#socket = socket
    this.#address = address
    const now = clock.elapsed()
    this.#frames = new Bucket(rates.frames, now)
    this.#bytes = new Bucket(rates.bytes, now)
    this.#binary = protocol === 'runcast.v1.msgpack'
    const link = new SocketLink(socket, this.#codec, {
      binary: this.#binary,
      receiveBytesMax,
      // Not from within a write: the flush that hands it over is walking the feeds.
      onTooLarge: (reason) => clock.defer(() => this.#connection.close('frameTooLarge', reason)),
    })
    this.#connection = grant.use((permissions) => hub.connect(link, { permissions, subject: grant.subject }))
    this.#idleTimer = idleTimers.websocket.begin(this)
    this.#log = new ConnectionLog(context, { connection: this.#connection, transport: 'websocket', address })
    connectionGrants.add(this.#connection, grant)
    if (grant.expiresAt !== undefined) this.#sayAuthorized(grant)
  }

  message(bytes: Uint8Array, binary: boolean): void {
    this.#idleTimer.broken()
    this.#log.received = (this.#log.received ?? 0) + 1
    if (!this.#connection.open || !this.#mayCome(bytes.length)) return
    if (bytes.length >= largeBytes) this.#waiting ??= this.#waitingFrames()
    if (this.#waiting?.take(bytes, binary) === true) return
    const value = this.#decoded(bytes, binary)
    const doing = value === undefined ? undefined : this.#perform(value)
    if (doing === undefined) return
    this.#waiting ??= this.#waitingFrames()
    this.#waiting.waitFor(doing)
  }

  #waitingFrames(): WaitingFrames {
    const { holder = '' } = this.#context.connectionGrants.grantOf(this.#connection) ?? {}
    const sender = holder === '' ? this.#address : holder
    return new WaitingFrames({
      decode: (bytes, binary) => this.#decoded(bytes, binary),
      prepare: (value, size) => this.#prepare(value, size, sender),
      perform: (value) => this.#perform(value),
      isOpen: () => this.#mayGoOn(),
      turn: (bytes) => turnFor(this.#context, sender, bytes),
    })
  }

  /** Does over several turns what takes long about a change of state. @returns what makes the change, or performs any other frame */
  async #prepare(value: JsonValue, bytes: number, sender: string): Promise<() => Promise<void> | undefined> {
    try {
      const frame = checkFrame(value, this.#context.limits)
      if (!isChange(frame)) return () => this.#performChecked(frame, value)
      const { topic, slice } = frame
      this.#connection.permissions.expectWrite(topic)
      const change = await inTurns(this.#context, sender, { topic, slice, change: changeOf(frame), bytes })
      return () => this.#performChecked(frame, value, change)
    } catch {
      // It fails in the same way, and says so, where it is performed.
      return () => this.#perform(value)
    }
  }

  /** @returns nothing, unless the frame has to wait for what a log says */
  #perform(value: JsonValue): Promise<void> | undefined {
    try {
      return this.#performChecked(checkFrame(value, this.#context.limits), value)
    } catch (error) {
      this.#refuse(value, error)
      return undefined
    }
  }

  #performChecked(
    frame: Checked<ClientFrame>,
    value: JsonValue,
    change?: StateChange,
  ): Promise<void> | undefined {
    try {
      const opening = frame.type === 'subscribe' ? this.#opening(frame) : undefined
      if (opening === undefined) {
        this.#do(frame, change)
        return undefined
      }
      return opening
        .then(() => {
          if (this.#mayGoOn()) this.#do(frame)
        })
        .catch((error: unknown) => this.#refuse(value, error))
    } catch (error) {
      this.#refuse(value, error)
      return undefined
    }
  }

  /** @returns once what is to be followed is there, with what the same client has published before */
  #opening({ topic, after }: Checked<Subscribe>): Promise<void> | undefined {
    const { hub } = this.#context
    if (!hub.isShared || !this.#connection.permissions.mayRead(topic)) return undefined
    const submitted = this.#submitted
    if (submitted === undefined || submitted.size === 0) return hub.open(topic, after)
    return Promise.all(submitted).then(() => hub.open(topic, after))
  }

  /** Whether a frame may still be done that had to wait. */
  #mayGoOn(): boolean {
    if (!this.#connection.open) return false
    const ended = this.#context.connectionGrants.reasonAgainst(this.#connection)
    if (ended !== undefined) this.#connection.close('unauthorized', ended)
    return ended === undefined
  }

  tooLarge(): void {
    this.#connection.close(
      'frameTooLarge',
      `expected frames of at most ${this.#context.limits.frameBytesMax} bytes`,
    )
  }

  drained(): void {
    this.#connection.drained()
  }

  /**
   * Pings and pongs are work like any frame, and are counted like one. They are so small that ten thousand come in one read,
   * and nobody needs so many: they have a rate of their own.
   */
  pulse(): void {
    if (!this.#connection.open) return
    this.#idleTimer.broken()
    const { clock, rates, limits } = this.#context
    const now = clock.elapsed()
    this.#pulses ??= new Bucket(rates.pulses, now)
    if (this.#pulses.take(1, now) === 0) this.#mayCome(0)
    else {
      const most = `${limits.pulseRateMax} pings and pongs a second`
      this.#connection.close('rateExceeded', `expected at most ${most}`)
    }
  }

  close(code: CloseCode, reason: string, retryMs?: number): void {
    this.#connection.close(code, reason, retryMs)
  }

  silent(times: number): void {
    const { heartbeatMs, stalledMs } = this.#context.limits
    const silentMs = times * heartbeatMs
    if (times === 1) this.#socket.ping()
    // The ping of one that does not read waits behind what it has not read: that tells nothing yet.
    else if (!this.#connection.full || silentMs >= stalledMs) {
      this.#connection.close('heartbeatMissed', `no sign of life for ${silentMs} ms`)
    }
  }

  closed(code: number): void {
    this.#waiting?.finish()
    this.#context.hub.releaseLeases(this)
    this.#idleTimer.end()
    this.#context.links.remove('websocket', this, this.#address)
    this.#context.connectionGrants.release(this.#connection)
    try {
      this.#connection.closed()
    } catch (error) {
      this.#context.report(error)
    }
    this.#log.end(code)
  }

  get #codec() {
    const { msgpack, json } = this.#context.hub.codecs
    return this.#binary ? msgpack : json
  }

  /** @returns whether the frame may be done, by its token and the rates; where not, the connection is closed. */
  #mayCome(bytes: number): boolean {
    const { rateLimits, clock, limits, connectionGrants } = this.#context
    const now = clock.elapsed()
    const ended = connectionGrants.reasonAgainst(this.#connection)
    if (ended !== undefined) {
      this.#connection.close('unauthorized', ended)
      return false
    }
    try {
      expectRate(this.#frames.take(1, now), `${limits.frameRateMax} frames`)
      expectRate(this.#bytes.take(bytes, now), `${limits.byteRateMax} bytes`)
      rateLimits.charge(this.#address)
      const holder = connectionGrants.grantOf(this.#connection)?.holder ?? ''
      if (holder !== '') rateLimits.charge(holder)
      return true
    } catch (error) {
      if (!(error instanceof RateError)) throw error
      this.#connection.close('rateExceeded', error.message)
      return false
    }
  }

  /** @returns nothing when it could not be decoded: the connection is closed then. */
  #decoded(bytes: Uint8Array, binary: boolean): JsonValue | undefined {
    if (binary !== this.#binary) {
      this.#connection.close('badFrame', `expected ${this.#binary ? 'binary' : 'text'} frames`)
      return undefined
    }
    try {
      return this.#codec.decode(bytes)
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unreadable'
      this.#connection.close('badFrame', `expected ${this.#binary ? 'MessagePack' : 'JSON'}: ${reason}`)
      return undefined
    }
  }

  #do(frame: Checked<ClientFrame>, change?: StateChange): void {
    switch (frame.type) {
      case 'subscribe':
      case 'update':
      case 'unsubscribe':
        return this.#connection.receive(frame)
      case 'publish':
        return this.#publish(frame)
      case 'lease':
        return this.#lease(frame)
      case 'set':
      case 'patch':
      case 'merge':
        return this.#changeState(frame, change ?? changeOf(frame))
      case 'authorize':
        return this.#authorize(frame)
      case 'ping':
        return this.#connection.say({ type: 'pong', ...refOf(frame) })
    }
  }

  #publish(frame: Checked<Publish>): void {
    const { hub } = this.#context
    this.#connection.permissions.expectPublish(frame.topic, frame.events, hub.isCommand)
    this.#answer(frame, hub.submit(frame.topic, frame.events), ({ first, last, duplicates }) => ({
      type: 'published',
      ...refOf(frame),
      first,
      last,
      duplicates,
    }))
  }

  #lease(frame: Checked<Lease>): void {
    const { topic, ms } = frame
    this.#connection.permissions.expectWrite(topic)
    this.#answer(frame, this.#context.hub.submitLease(topic, ms, this), () => ({
      type: 'leased',
      ...refOf(frame),
      topic: formatTopic(topic),
      ms,
    }))
  }

  #changeState(frame: ChangeFrame, change: StateChange): void {
    const { topic, slice, cause } = frame
    this.#connection.permissions.expectWrite(topic)
    const submitted = this.#context.hub.submitState(topic, slice, change, {
      ...(cause && { cause }),
    })
    this.#answer(frame, submitted, ({ offset, changed }) => ({
      type: 'updated',
      ...refOf(frame),
      offset,
      changed,
    }))
  }

  /** Until the new token has been verified, the one before is in force. */
  #authorize(frame: Authorize): void {
    this.#authorizing = frame
    void Promise.resolve()
      .then(() =>
        this.#context.authenticator.grantOfToken(
          frame.token,
          this.#context.connectionGrants.grantOf(this.#connection),
        ),
      )
      .then((grant) => {
        // Of several at once the last one counts.
        if (this.#authorizing === frame) this.#context.connectionGrants.renew(this.#connection, grant)
        this.#sayAuthorized(grant)
      })
      .catch((error: unknown) => this.#refuse({}, error))
  }

  #sayAuthorized({ expiresAt }: VerifiedGrant): void {
    const leftMs = expiresAt === undefined ? undefined : Math.max(0, expiresAt - this.#context.clock.now())
    this.#connection.say({ type: 'authorized', ...(leftMs !== undefined && { expiresInMs: leftMs }) })
  }

  /** Answers a request once what it published is stored, or in the log. */
  #answer<Result>(
    frame: object,
    submitted: Promise<Result>,
    answerOf: (result: Result) => ControlFrame,
  ): void {
    const answered = submitted
      .then((result) => this.#connection.say(answerOf(result)))
      .catch((error: unknown) => this.#refuse(frame, error))
    if (!this.#context.hub.isShared) return
    const all = (this.#submitted ??= new Set())
    all.add(answered)
    void answered.then(() => all.delete(answered))
  }

  #refuse(frame: object | JsonValue, error: unknown): void {
    if (error instanceof ProtocolError) {
      const { code, message } = error
      return this.#connection.say({ type: 'error', ...markOf(frame), code, message })
    }
    this.#connection.fail(error)
  }
}

/** @throws RateError when what came has to wait */
function expectRate(afterMs: number, most: string): void {
  if (afterMs > 0) throw new RateError(`expected at most ${most} a second`, afterMs)
}

type ChangeFrame = Checked<SetState | Patch | Merge>

function isChange(frame: Checked<ClientFrame>): frame is ChangeFrame {
  return frame.type === 'set' || frame.type === 'patch' || frame.type === 'merge'
}

function changeOf(frame: ChangeFrame): { readonly value: JsonValue } | Edit {
  switch (frame.type) {
    case 'set':
      return { value: frame.value }
    case 'patch':
      return { patch: frame.patch }
    case 'merge':
      return { merge: frame.merge }
  }
}

function refOf({ ref }: { readonly ref?: string | number }): { readonly ref?: string | number } {
  return ref === undefined ? {} : { ref }
}

/** @returns by what the client will know its request again; the frame may be malformed. */
function markOf(frame: object | JsonValue): Pick<Failed, 'ref' | 'sub'> {
  if (typeof frame !== 'object' || frame === null) return {}
  const { ref, sub } = frame as { readonly ref?: unknown; readonly sub?: unknown }
  if (typeof sub === 'number') return { sub }
  return typeof ref === 'number' || (typeof ref === 'string' && ref.length <= 256) ? { ref } : {}
}
