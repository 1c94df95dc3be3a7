import type { Clock, Timer } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import { StoreError } from '../store/store.js'
import { asStoreError, type Connection, openConnection, type Target } from './connection.js'

const retryMs = 50
const retryMsMax = 1_000

export interface LineOptions {
  readonly clock: Clock
  readonly random: Random
  readonly target: Target
  /** What the engine lists it as. */
  readonly name: string
  /** How long a call waits for the line, and how long opening it may take. */
  readonly waitMs: number
  /** It is open again. What is to be done before anybody uses it is awaited; where that fails it is opened anew. */
  readonly onOpen: (connection: Connection) => Promise<void> | undefined
  readonly onEnd: (why: string) => void
}

interface Waiter {
  readonly resolve: (connection: Connection) => void
  readonly reject: (error: Error) => void
}

/** A connection to a node that is opened again and again. */
export class Line {
  readonly #options: LineOptions
  #connection: Connection | undefined = undefined
  /** Open, and not yet ready. */
  #fresh: Connection | undefined = undefined
  #waiters: Waiter[] = []
  #retry: Timer | undefined = undefined
  #retryMs = retryMs
  /** Runs while calls still wait for the connection to come back. */
  #patience: Timer | undefined = undefined
  /** It has not come back for so long that calls fail at once. */
  #isLost = false
  #fault: StoreError | undefined = undefined
  #isClosed = false
  /** How often it was opened. */
  opened = 0

  constructor(options: LineOptions) {
    this.#options = options
    this.#wait()
    this.#open()
  }

  get connection(): Connection | undefined {
    return this.#connection
  }

  /** @throws StoreError `failed` when there is none for `waitMs` */
  ready(): Promise<Connection> {
    if (this.#connection !== undefined) return Promise.resolve(this.#connection)
    if (this.#isClosed) return Promise.reject(new StoreError('closed', 'the log was closed'))
    if (this.#isLost) return Promise.reject(this.#unreachable())
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }))
  }

  /** Ends the connection; another is opened. */
  drop(why: string): void {
    const connection = this.#connection ?? this.#fresh
    if (connection === undefined) return
    connection.end(why)
    this.#ended(connection, why)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#retry?.cancel()
    this.#patience?.cancel()
    for (const { reject } of this.#waiters.splice(0)) reject(new StoreError('closed', 'the log was closed'))
    const connection = this.#connection ?? this.#fresh
    this.#connection = undefined
    this.#fresh = undefined
    connection?.end('the log was closed')
  }

  #open(): void {
    const { target, name, waitMs, onOpen } = this.#options
    openConnection(target, name, waitMs)
      .then(async (connection) => {
        if (this.#isClosed) return connection.end('the log was closed')
        this.#fresh = connection
        void connection.ended.then((why) => this.#ended(connection, why))
        await onOpen(connection)
        if (!connection.isOpen || this.#fresh !== connection) return
        this.#opened(connection)
      })
      .catch((error: unknown) => {
        const connection = this.#fresh
        const fault = asStoreError(error)
        this.#fault =
          fault instanceof StoreError ? fault : new StoreError('failed', String(error), { cause: error })
        // Waiting does not make a password right.
        if (this.#fault.kind === 'refused') this.#lose()
        if (connection === undefined) return this.#openLater()
        connection.end(this.#fault.message)
        this.#ended(connection, this.#fault.message)
      })
  }

  #opened(connection: Connection): void {
    this.#fresh = undefined
    this.#connection = connection
    this.opened++
    this.#retryMs = retryMs
    this.#fault = undefined
    this.#isLost = false
    this.#patience?.cancel()
    this.#patience = undefined
    for (const { resolve } of this.#waiters.splice(0)) resolve(connection)
  }

  #ended(connection: Connection, why: string): void {
    if (this.#isClosed || (this.#connection !== connection && this.#fresh !== connection)) return
    const wasOpen = this.#connection === connection
    this.#connection = undefined
    this.#fresh = undefined
    this.#fault ??= new StoreError('failed', why)
    if (wasOpen) {
      this.#wait()
      this.#options.onEnd(why)
    }
    this.#openLater()
  }

  #openLater(): void {
    if (this.#isClosed || this.#retry !== undefined) return
    const { clock, random } = this.#options
    // Spread, so that not all hubs come at once.
    this.#retry = clock.after(this.#retryMs * (0.5 + random.fraction() / 2), () => {
      this.#retry = undefined
      this.#open()
    })
    this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
  }

  #wait(): void {
    this.#patience ??= this.#options.clock.after(this.#options.waitMs, () => this.#lose())
  }

  #lose(): void {
    this.#patience?.cancel()
    this.#patience = undefined
    this.#isLost = true
    for (const { reject } of this.#waiters.splice(0)) reject(this.#unreachable())
  }

  #unreachable(): StoreError {
    const { kind, message } = this.#fault ?? { kind: 'failed', message: 'no answer' }
    return new StoreError(kind, `the log cannot be reached: ${message}`)
  }
}
