import type { Random } from '../lib/random.js'
import type { Offset } from '../protocol/cursor.js'
import type {
  Failed,
  Lease,
  Leased,
  Merge,
  Patch,
  Publish,
  Published,
  Set as SetFrame,
  Updated,
} from '../protocol/frames.js'
import { ClosedError, RequestError } from './errors.js'
import type { ClientClock } from './surroundings.js'

export type Request = Publish | SetFrame | Patch | Merge | Lease
export type Answer = Published | Updated | Leased

/** The offsets of published events. */
export interface Receipt {
  /** Offsets of the first and last event. */
  readonly first: Offset
  readonly last: Offset
  /** How many events the hub already had, by their ids. */
  readonly duplicates: number
}

/** The result of a change of state. */
export interface StateReceipt {
  readonly offset: Offset
  /** `false`: the value was already the same, and nothing was published. */
  readonly changed: boolean
}

/** How long a request may take. */
export interface RequestOptions {
  /** The time until the answer, including the wait for a link; `Infinity`: no timeout. */
  readonly timeoutMs?: number
  /** Abandons the request: if it has not been sent, it is not sent; if it has, it may have been executed. */
  readonly signal?: AbortSignal
}

interface Pending {
  readonly frame: Request
  sent: boolean
  /** Stops everything else that could settle it. */
  readonly settled: () => void
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** Requests that may wait for an answer, or for a link. */
const pendingMax = 10_000

/** Unanswered requests, in order. */
export class Requests {
  readonly #pending = new Map<number, Pending>()
  readonly #answers = new Set<Promise<Answer>>()
  readonly #random: Random
  readonly #clock: ClientClock
  readonly #timeoutMs: number
  #refs = 0
  #closed: ClosedError | undefined

  constructor(random: Random, clock: ClientClock, timeoutMs: number) {
    this.#random = random
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /** @param send tries to send the frame. @returns whether there was a link */
  ask(
    request: Request,
    send: (frame: Request) => boolean,
    { timeoutMs = this.#timeoutMs, signal }: RequestOptions = {},
  ): Promise<Answer> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    if (this.#pending.size >= pendingMax) {
      return Promise.reject(new RequestError('unavailable', `${pendingMax} requests are already waiting`))
    }
    this.#refs += 1
    const ref = this.#refs
    const frame = { ...request, ref }
    if (frame.type === 'publish') {
      ;(frame as { events: Publish['events'] }).events = frame.events.map((event) =>
        event.id === undefined ? { ...event, id: this.#random.id() } : event,
      )
    }
    const answer = new Promise<Answer>((resolve, reject) => {
      const timer =
        timeoutMs === Number.POSITIVE_INFINITY
          ? undefined
          : this.#clock.after(timeoutMs, () => {
              const state = pending.sent ? 'it may have been done' : 'it was not sent'
              this.#settle(ref)?.reject(
                new RequestError('unavailable', `no answer within ${timeoutMs} ms: ${state}`),
              )
            })
      const abort = () => this.#settle(ref)?.reject(signal?.reason)
      signal?.addEventListener('abort', abort)
      const settled = () => {
        timer?.cancel()
        signal?.removeEventListener('abort', abort)
      }
      const pending: Pending = { frame, sent: false, settled, resolve, reject }
      this.#pending.set(ref, pending)
      try {
        pending.sent = send(frame)
      } catch (error) {
        // A frame that cannot be encoded now cannot be encoded for the next link either.
        this.#settle(ref)
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    })
    if (this.#pending.has(ref)) this.#answers.add(answer)
    const forget = () => this.#answers.delete(answer)
    answer.then(forget, forget)
    return answer
  }

  /** @returns once all that was asked so far has been answered or given up */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#answers)
  }

  /** @returns the frames to send on a new link: all unanswered requests, in order */
  again(): Request[] {
    const frames: Request[] = []
    for (const pending of this.#pending.values()) {
      pending.sent = true
      frames.push(pending.frame)
    }
    return frames
  }

  /**
   * The link is lost. Published events are sent again; their ids make the effect exactly once. `set` and `merge` are sent again
   * because they are idempotent. Whether a patch was applied is unknown, so it fails and its sender decides.
   */
  lost(): void {
    for (const [ref, { frame, sent }] of this.#pending) {
      if (!sent || frame.type !== 'patch') continue
      const error = new RequestError(
        'unavailable',
        'disconnected before the answer: the patch may have been applied',
      )
      this.#settle(ref)?.reject(error)
    }
  }

  answered(frame: Answer | Failed): void {
    const pending = this.#settle(frame.ref as number)
    if (frame.type === 'error') pending?.reject(new RequestError(frame.code, frame.message))
    else pending?.resolve(frame)
  }

  close(error: ClosedError): void {
    this.#closed = error
    for (const ref of this.#pending.keys()) this.#settle(ref)?.reject(error)
  }

  #settle(ref: number): Pending | undefined {
    const pending = this.#pending.get(ref)
    this.#pending.delete(ref)
    pending?.settled()
    return pending
  }
}
