import type { Chunk, Codec } from '../codec/codec.js'
import { type Checked, checkFields } from '../protocol/check.js'
import { type CloseCode, ProtocolError, quote } from '../protocol/codes.js'
import type { Gap, HubEvent, Mode, Subscribe } from '../protocol/frames.js'
import type { Link } from './link.js'

export interface LocalOptions {
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  readonly after?: string
  readonly replay?: boolean | 'all'
  readonly last?: number
  readonly since?: number
  /** Called when something can no longer be delivered. */
  readonly onGap?: (gap: Omit<Gap, 'type' | 'sub'>) => void
}

const fields: Readonly<Record<keyof LocalOptions, true>> = {
  types: true,
  mode: true,
  slices: true,
  after: true,
  replay: true,
  last: true,
  since: true,
  onGap: true,
}

/** @throws ProtocolError `badFrame` for an option that there is not; the values are checked as those of a frame */
export function checkedLocal(options: LocalOptions): LocalOptions {
  checkFields(options, Object.keys(fields), 'subscribe')
  const { onGap } = options
  if (onGap === undefined || typeof onGap === 'function') return options
  throw new ProtocolError('badFrame', `subscribe.onGap: expected a function, got ${quote(onGap)}`)
}

/** Events as they come; `return` or `break` unsubscribes. */
export interface LocalSubscription extends AsyncIterableIterator<HubEvent> {
  close(): void
}

/** The connection of a link within the process. */
export interface LocalConnection {
  receive(frame: Checked<Subscribe>): void
  drained(): void
  closed(): void
}

// Maximum of events that wait for their reader before it lags.
const waitingMax = 1_024

/** A link to a reader within the process: a bounded queue of events. */
export class LocalLink implements Link {
  readonly codec: Codec
  #events: HubEvent[] = []
  #next = 0
  #connection: LocalConnection | undefined
  #onGap: LocalOptions['onGap']
  #wake: (() => void) | undefined
  #failure: Error | undefined
  #ended = false

  constructor(codec: Codec) {
    this.codec = codec
  }

  write(chunk: Chunk): boolean {
    if (chunk instanceof Uint8Array) throw new TypeError('expected a frame, got bytes')
    if (chunk.type === 'events') {
      for (const event of chunk.events) this.#events.push(event)
      this.#wakeReader()
    } else if (chunk.type === 'gap') this.#onGap?.(chunk)
    else if (chunk.type === 'subscribed' && chunk.gap !== undefined) this.#onGap?.(chunk.gap)
    else if (chunk.type === 'unsubscribed') this.end()
    return this.#events.length - this.#next < waitingMax
  }

  cork(writes: () => void): void {
    writes()
  }

  end(): void {
    this.#ended = true
    this.#wakeReader()
  }

  close(code: CloseCode, reason: string): void {
    this.#failure = new Error(`closed: ${code}: ${reason}`)
    this.end()
  }

  /** Events that wait within the process have no bytes. */
  readonly waiting = 0

  /** @throws ProtocolError if the hub refuses it, for instance because its limit of feeds is reached */
  follow(
    connection: LocalConnection,
    frame: Checked<Subscribe>,
    onGap: LocalOptions['onGap'],
  ): LocalSubscription {
    this.#connection = connection
    this.#onGap = onGap
    const close = () => {
      this.end()
      connection.closed()
    }
    try {
      connection.receive(frame)
    } catch (error) {
      close()
      throw error
    }
    const subscription: LocalSubscription = {
      next: () => this.#read(),
      return: async () => {
        close()
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]: () => subscription,
      close,
    }
    return subscription
  }

  async #read(): Promise<IteratorResult<HubEvent>> {
    for (;;) {
      const event = this.#events[this.#next]
      if (event !== undefined) {
        this.#next++
        if (this.#next === this.#events.length) {
          this.#events = []
          this.#next = 0
          this.#connection?.drained()
        }
        return { done: false, value: event }
      }
      if (this.#failure !== undefined) throw this.#failure
      if (this.#ended) return { done: true, value: undefined }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #wakeReader(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
