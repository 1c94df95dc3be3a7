import type { Chunk } from '../../codec/codec.js'
import type { RunCodec, RunPoint, Shared, Step } from '../../codec/run-codec.js'
import type { CloseCode } from '../../protocol/codes.js'
import type { Epoch, Offset } from '../../protocol/cursor.js'
import type { ControlFrame, Events, HubEvent, Slices } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { Stream } from '../../transport/transport.js'
import type { IdleTimer } from './idle-timers.js'
import { type RunTelling, textOf } from './run-telling.js'
import { type Patience, StreamLink } from './stream-link.js'

/**
 * `silent`: the fold catches up with the session; `waiting`: for the next run; `telling`: a run is being told; `over`: the run
 * or the response has ended.
 */
type Mode = 'silent' | 'waiting' | 'telling' | 'over'

export interface RunLinkOptions {
  readonly limits: Limits
  readonly patience: Patience
  readonly telling: RunTelling
  readonly session: string
  /** The point of the fold, and whether the client knows everything up to it. */
  readonly point: RunPoint
  readonly mode: Exclude<Mode, 'over'>
  /** The client has received all blocks up to this one by its own count. */
  readonly above: number | undefined
  /** The kind of clients. */
  readonly variant: string
  /** The current state of the session. */
  readonly slices: () => Slices
}

const encoder = new TextEncoder()

/** A response that tells one run. It gets the hub's frames as objects. */
export class RunLink extends StreamLink {
  override readonly codec: RunCodec
  readonly #options: RunLinkOptions
  /** Known once it is subscribed. */
  #key: string | undefined
  #step: Step | undefined
  #shared: Shared | undefined
  #point: RunPoint
  #mode: Mode
  #above: number | undefined
  /** Events of the run were missed before the join. */
  #holed = false
  #cutOnceBegun = false

  constructor(codec: RunCodec, options: RunLinkOptions) {
    super(codec, options.limits, options.patience)
    this.codec = codec
    this.#options = options
    this.#point = options.point
    this.#mode = options.mode
    this.#above = options.above
  }

  override begin(stream: Stream, idleTimer: IdleTimer): boolean {
    const goOn = super.begin(stream, idleTimer)
    if (this.#cutOnceBegun) this.cut()
    return goOn && !this.#cutOnceBegun
  }

  override write(chunk: Chunk): boolean {
    if (chunk instanceof Uint8Array) return super.write(chunk)
    if (this.#mode === 'over') return true
    return chunk.type === 'events' ? this.#events(chunk) : this.#control(chunk)
  }

  override gone(): void {
    super.gone()
    if (this.#key !== undefined) this.codec.leave(this.#key)
  }

  /** The session has ended, and all of it was delivered. */
  override end(): void {
    this.#break('The session has ended.')
  }

  override close(_code: CloseCode, reason: string): void {
    this.#break(reason)
  }

  #control(frame: ControlFrame): boolean {
    switch (frame.type) {
      case 'subscribed': {
        const { gap, topic, epoch } = frame
        this.#key = keyOf(topic, epoch, this.#options.variant)
        this.#shared = this.codec.enter(this.#key)
        this.#step = this.#options.telling.stepOf(epoch)
        if (gap === undefined) return true
        if (gap.reason === 'epoch') return this.#break('The session was begun anew.')
        this.#holed = true
        return super.write(this.codec.comment('hub.gap', gap))
      }
      case 'gap':
        // Otherwise later events would be told as if nothing were missing.
        return this.#break('The client was too slow: a part of the run is gone.')
      case 'live':
        return this.#live(frame.offset)
      case 'unsubscribed':
        return this.#break(frame.reason)
      default:
        return true
    }
  }

  #live(offset: Offset): boolean {
    this.#meet(offset)
    if (this.#mode !== 'silent') return true
    const { phase } = this.#point
    if (phase === 'waiting' || phase === 'ended') {
      this.#mode = 'waiting'
      return true
    }
    this.#mode = 'telling'
    return super.write(encoder.encode(this.#prelude(this.#point)))
  }

  #events(frame: Events): boolean {
    const { events } = frame
    let at = 0
    let room = true
    while (at < events.length && (this.#mode === 'silent' || this.#mode === 'waiting')) {
      room = this.#quietly(events[at] as HubEvent)
      at++
    }
    if (this.#mode !== 'telling' || at === events.length) return room
    if (this.#above !== undefined) return this.#aboveOnly(events)
    if (this.#step === undefined) return room
    const step =
      at === 0 ? this.codec.step(frame, this.#point, this.#step) : this.#step(this.#point, events.slice(at))
    this.#point = step.point
    if ('last' in frame) this.#meet(frame.last)
    if (step.bytes.length > 0) room = super.write(step.bytes)
    if (step.broken) return this.#break('Another run has begun.')
    return this.#point.phase === 'ended' ? this.#finish() : room
  }

  /** Folds an event without telling the client, unless a run begins, or the joined run ends. */
  #quietly(event: HubEvent): boolean {
    const before = this.#point
    const { point, blocks, turn } = this.#options.telling.tell(before, event)
    this.#point = point
    if (this.#mode === 'waiting' && turn === 'begins') {
      this.#mode = 'telling'
      const text = this.codec.runs.prelude === undefined ? textOf(blocks) : this.#prelude(point)
      return super.write(encoder.encode(text))
    }
    if (this.#mode === 'silent' && turn === 'ends' && event.offset > this.#options.point.from) {
      super.write(encoder.encode(this.#prelude(before) + textOf(blocks)))
      return this.#finish()
    }
    return true
  }

  /** Tells the first events after those that the client has by its own count. */
  #aboveOnly(events: readonly HubEvent[]): boolean {
    let text = ''
    let turn: string | undefined
    for (const event of events) {
      const made = this.#options.telling.tell(this.#point, event)
      this.#point = made.point
      text += textOf(made.blocks.filter(({ number = 0 }) => number > (this.#above ?? 0)))
      turn = made.turn
      if (turn === 'ends') break
    }
    this.#above = undefined
    const room = text === '' || super.write(encoder.encode(text))
    return turn === 'ends' ? this.#finish() : room
  }

  /** Clients at the same point that know the whole run share the point. */
  #meet(offset: Offset): void {
    if (this.#shared === undefined || this.#holed) return
    this.#point = this.codec.meet(this.#shared, offset, this.#point)
  }

  #prelude({ state }: RunPoint): string {
    const { session, slices } = this.#options
    return this.codec.runs.prelude?.(state, { session, slices: slices() }) ?? ''
  }

  #finish(): boolean {
    this.#mode = 'over'
    super.end()
    return true
  }

  /** Ends the response before the run ends, which must not look like a clean end. */
  #break(reason: string): boolean {
    if (this.#mode === 'over') return true
    const text = this.codec.runs.broken?.(this.#point.state, reason)
    if (text !== undefined) {
      super.write(encoder.encode(text))
      return this.#finish()
    }
    this.#mode = 'over'
    this.#cutOnceBegun = true
    this.cut()
    return true
  }
}

/** @returns the key of clients that are told the same */
export function keyOf(topic: string, epoch: Epoch, variant: string): string {
  return `${topic} ${epoch} ${variant}`
}
