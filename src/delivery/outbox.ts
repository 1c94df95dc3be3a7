import type { About, Chunk } from '../codec/codec.js'
import type { CloseCode } from '../protocol/codes.js'
import type { Position } from '../protocol/cursor.js'
import type { ControlFrame } from '../protocol/frames.js'
import { bytesOf } from './batches.js'
import type { Link } from './link.js'
import type { BatchCount, BatchQueue, Membership } from './member.js'
import type { Services } from './services.js'

/** For joins over many topics, so that a link that is cut during a join has made progress. */
const progressBytes = 16 * 1024

/** Why the hub ended a connection. */
export type Ending =
  | { readonly kind: 'closed'; readonly code: CloseCode; readonly reason: string }
  /** All of its subscriptions had ended. */
  | { readonly kind: 'done' }

/** A batch that waits for the end of a flush, so that a connection gets all of its feeds in one write. */
interface Outgoing {
  readonly membership: Membership
  readonly chunk: Chunk
  readonly batch: BatchCount
}

/** The connection that sends through an outbox. */
export interface Sender {
  readonly id: string
  /** The link has no room for more. */
  leaveFeeds(): void
  /** How far each session has been sent, for codecs with a trailer. */
  positions(): ReadonlyMap<string, Position>
}

/** What a connection sends: frames, and the batches of a flush. Knows whether the link is open and has room. */
export class Outbox implements BatchQueue {
  readonly link: Link
  readonly #sender: Sender
  readonly #services: Services
  /** Nearly always at most one. */
  #outgoing: Outgoing | Outgoing[] | undefined = undefined
  #open = true
  #full = false
  #overflowBytes = 0
  #written = 0
  /** The value of it when the positions were last sent, and the size of the positions. */
  #positionsAt = 0
  #positionsBytes = 0
  #events = 0
  #bytes = 0
  #ending: Ending | undefined = undefined

  constructor(link: Link, sender: Sender, services: Services) {
    this.link = link
    this.#sender = sender
    this.#services = services
  }

  get open(): boolean {
    return this.#open
  }

  /** Whether the link has no room for more. */
  get full(): boolean {
    return this.#full
  }

  /** Events that were handed to the link. */
  get events(): number {
    return this.#events
  }

  /** Bytes of the frames that these events were in. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes of all frames that catching up has written. */
  get written(): number {
    return this.#written
  }

  /** Absent if the client, or something between, ended it. */
  get ending(): Ending | undefined {
    return this.#ending
  }

  /** Writes a frame that is not an event. */
  say(frame: ControlFrame, about?: About): void {
    if (!this.#open) return
    const chunk = this.link.codec.control(frame, about)
    if (chunk === undefined) return
    const bytes = bytesOf(chunk)
    const { overrunBytesMax } = this.#services.limits
    if (bytes > overrunBytesMax) {
      // If this cut the connection, the client would request the same again and again.
      return this.close(
        'frameTooLarge',
        `a snapshot of ${bytes} bytes is more than ${overrunBytesMax}: ask for it in parts, or for fewer slices`,
      )
    }
    if (this.#full) this.#overflow(chunk)
    this.#written += bytes
    if (!this.link.write(chunk)) this.markFull()
  }

  /** Writes a frame with a number of events. */
  writeEvents(chunk: Chunk, events: number): void {
    const bytes = bytesOf(chunk)
    this.#written += bytes
    this.count(events, bytes)
    this.#countDelivered(events, bytes)
    if (!this.link.write(chunk)) this.markFull()
  }

  /** Takes a batch for the end of the flush; it has been counted. */
  queue(membership: Membership, chunk: Chunk, batch: BatchCount): void {
    const one = { membership, chunk, batch }
    if (this.#outgoing === undefined) {
      this.#services.flush.queue(this)
      this.#outgoing = one
    } else if (Array.isArray(this.#outgoing)) this.#outgoing.push(one)
    else this.#outgoing = [this.#outgoing, one]
  }

  /** Writes what was queued in one piece. */
  writeQueued(): void {
    const outgoing = this.#outgoing
    this.#outgoing = undefined
    if (!this.#open || outgoing === undefined) return
    try {
      const isOne = !Array.isArray(outgoing)
      // One chunk without a trailer leaves in one piece anyway.
      if (isOne && this.link.codec.trailer === undefined) return this.#writeBatch(outgoing)
      this.link.cork(() => {
        for (const each of isOne ? [outgoing] : outgoing) this.#writeBatch(each)
        this.sayPositions()
      })
    } catch (error) {
      this.fail(error)
    }
  }

  /** If the codec has a trailer, writes how far each session has been sent. */
  sayPositions(): void {
    const { codec } = this.link
    if (codec.trailer === undefined || !this.#open) return
    const chunk = codec.trailer(this.#sender.positions())
    this.#positionsAt = this.#written
    this.#positionsBytes = chunk === undefined ? 0 : bytesOf(chunk)
    if (chunk !== undefined && !this.link.write(chunk)) this.markFull()
  }

  /** As `sayPositions`, but not every time, because the positions of a thousand sessions are longer than the events. */
  sayProgress(): void {
    if (this.link.codec.trailer === undefined) return
    const due = Math.max(progressBytes, 8 * this.#positionsBytes)
    if (this.#written - this.#positionsAt >= due) this.sayPositions()
  }

  /** Events were passed to the link, or were taken back. */
  count(events: number, bytes: number): void {
    this.#events += events
    this.#bytes += bytes
  }

  /** The link took the last chunk but has no room for more. */
  markFull(): void {
    if (this.#full) return
    this.#full = true
    this.#sender.leaveFeeds()
  }

  /** The link can take more. @returns whether it is open */
  drained(): boolean {
    if (!this.#open) return false
    this.#full = false
    this.#overflowBytes = 0
    return true
  }

  /** The link has gone. */
  closed(): void {
    if (!this.#open) return
    this.#open = false
    this.#services.left(this.#sender.id)
  }

  /** @param retryMs how long the client should wait before it reconnects, if the hub sets it */
  close(code: CloseCode, reason: string, retryMs?: number): void {
    if (!this.#open) return
    this.#ending = { kind: 'closed', code, reason }
    this.#services.counts.close(code)
    this.link.close(code, reason, retryMs)
    this.closed()
  }

  /** Ends normally: nothing more follows. */
  end(): void {
    this.#ending = { kind: 'done' }
    this.link.end()
    this.closed()
  }

  /** An error occurred for this connection: it ends, and the others continue. */
  fail(error: unknown): void {
    const { id } = this.#sender
    this.#services.reportFault(error, id)
    try {
      this.close('internalError', 'internal error; see the log of the hub')
    } catch (another) {
      this.#services.reportFault(another, id)
      this.closed()
    }
  }

  #writeBatch({ membership, chunk, batch: { events, after } }: Outgoing): void {
    const bytes = bytesOf(chunk)
    if (this.#full) {
      // Not written: it is read from history, from where the feed was before this flush, or where it joined the feed.
      const { member, position } = membership
      member.rewind(position > after ? position : after)
      this.count(-events, -bytes)
      return
    }
    this.#countDelivered(events, bytes)
    if (!this.link.write(chunk)) this.markFull()
  }

  #countDelivered(events: number, bytes: number): void {
    const { counts } = this.#services
    counts.delivered += events
    counts.deliveredBytes += bytes
  }

  /** Answers to a client that sends requests but does not read are also bounded. */
  #overflow(chunk: Chunk): void {
    this.#overflowBytes += chunk instanceof Uint8Array ? chunk.length : 1_024
    if (this.#overflowBytes > this.#services.limits.answerBytesMax) {
      this.close('lagging', 'the client sends requests and does not read the answers')
    }
  }
}
