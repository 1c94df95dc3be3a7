import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface ProxyFaults {
  /** Each chunk, in either direction, arrives so much later. Milliseconds. */
  readonly delayMs?: number
  /** A link is cut once it has carried so many bytes from the server. The last chunk is cut to fit. */
  readonly cutAfterBytes?: number | (() => number)
}

export type Direction = 'up' | 'down'

/**
 * A TCP proxy on the loopback interface with faults, between a client and the server at `port`. `up` is from
 * the client to the server. What it does not forward it does not read either, so the sender feels it.
 */
export class Proxy {
  readonly #server: Server
  readonly #links = new Set<ProxiedLink>()
  readonly #target: number
  #faults: ProxyFaults
  /** How many links there have been. */
  accepted = 0
  /** Bytes that links which are gone have carried from the server. */
  carried = 0

  private constructor(target: number, faults: ProxyFaults) {
    this.#target = target
    this.#faults = faults
    this.#server = createServer((client) => {
      this.accepted += 1
      const link = new ProxiedLink(client, connect(this.#target, '127.0.0.1'), this.#faults)
      this.#links.add(link)
      link.onClosed(() => {
        if (this.#links.delete(link)) this.carried += link.bytes('down')
      })
    })
  }

  static async open(target: number, faults: ProxyFaults = {}): Promise<Proxy> {
    const proxy = new Proxy(target, faults)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The links that are open, the oldest first. */
  get links(): readonly ProxiedLink[] {
    return [...this.#links]
  }

  /** For links to come. */
  set faults(faults: ProxyFaults) {
    this.#faults = faults
  }

  /** Cuts every link at once, with a reset. */
  cut(): void {
    for (const link of this.#links) link.cut()
  }

  close(): Promise<void> {
    this.cut()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

/** One client's way to the server. */
export class ProxiedLink {
  readonly #client: Socket
  readonly #server: Socket
  readonly #pipes: Readonly<Record<Direction, Pipe>>
  #halfOpen = false
  #closed: (() => void) | undefined

  constructor(
    client: Socket,
    server: Socket,
    { delayMs = 0, cutAfterBytes = Number.POSITIVE_INFINITY }: ProxyFaults,
  ) {
    this.#client = client
    this.#server = server
    this.#pipes = {
      up: new Pipe(client, server, { delayMs }),
      down: new Pipe(server, client, {
        delayMs,
        // A part of a byte never comes: the link would carry nothing more, and not be cut either.
        bytesMax: Math.floor(typeof cutAfterBytes === 'number' ? cutAfterBytes : cutAfterBytes()),
        exhausted: () => this.cutGently(),
      }),
    }
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => {})
      socket.on('close', () => {
        if (this.#halfOpen) return
        other.destroy()
        this.#closed?.()
      })
    }
  }

  onClosed(task: () => void): void {
    this.#closed = task
  }

  /** Bytes that have been forwarded. */
  bytes(direction: Direction): number {
    return this.#pipes[direction].bytes
  }

  /** Stops forwarding one direction. */
  stall(direction: Direction): void {
    this.#pipes[direction].stall()
  }

  resume(direction: Direction): void {
    this.#pipes[direction].resume()
  }

  /** Forwards nothing any more, not even that one end has closed: each end believes the other is there. */
  halfOpen(): void {
    this.#halfOpen = true
    this.stall('up')
    this.stall('down')
  }

  /** Cuts both ends at once, with a reset; what is on the way is lost. */
  cut(): void {
    this.#halfOpen = false
    reset(this.#client)
    reset(this.#server)
    this.#closed?.()
  }

  /** Cuts both ends once what was forwarded has left. */
  cutGently(): void {
    this.#client.end(() => this.cut())
  }
}

/**
 * Closes a socket at once, with a reset if it can. While it is being shut down it cannot: Node (20 to 26) then reports
 * `EINVAL`, never closes its handle, and spins for ever when the process should end.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy()
  else socket.resetAndDestroy()
}

interface PipeOptions {
  readonly delayMs: number
  readonly bytesMax?: number
  readonly exhausted?: () => void
}

class Pipe {
  readonly #from: Socket
  readonly #to: Socket
  readonly #options: PipeOptions
  #stalled = false
  #done = false
  bytes = 0

  constructor(from: Socket, to: Socket, options: PipeOptions) {
    this.#from = from
    this.#to = to
    this.#options = options
    from.on('data', (chunk) => {
      if (options.delayMs === 0) this.#forward(chunk)
      else setTimeout(() => this.#forward(chunk), options.delayMs)
    })
    to.on('drain', () => this.#flow())
  }

  stall(): void {
    this.#stalled = true
    this.#from.pause()
  }

  resume(): void {
    this.#stalled = false
    this.#flow()
  }

  #flow(): void {
    if (!this.#stalled && !this.#to.writableNeedDrain) this.#from.resume()
  }

  #forward(chunk: Buffer): void {
    const { bytesMax = Number.POSITIVE_INFINITY, exhausted } = this.#options
    if (this.#done || this.#to.destroyed) return
    const part = chunk.subarray(0, bytesMax - this.bytes)
    this.bytes += part.length
    if (!this.#to.write(part)) this.#from.pause()
    if (this.bytes < bytesMax) return
    this.#done = true
    exhausted?.()
  }
}
