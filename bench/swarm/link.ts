import net from 'node:net'
import { monotonicMicros } from '../harness/monotonic.js'
import type { Dialect } from './dialect.js'
import type { Known, Reading, Tally } from './tally.js'
import { clientFrame, opcodes, readFrameHead } from './websocket.js'

/** What a link tells the swarm. */
export interface LinkEvents {
  live(): void
  /** Events came of which the oldest was published at `stamp`; `now` is when the socket was read. */
  delivered(events: number, bytes: number, stamp: number, now: number): void
  malformed(reason: string): void
  closed(): void
}

/** Frames that were read before, by the number of the event they follow. Shared by links that get the same. */
export class KnownFrames {
  readonly #frames = new Map<number, Known>()
  /**
   * The frames from the oldest on. It goes on where it stopped; one made anew would step over the holes of all that were deleted
   * since the map was last made again, up to 150 µs for each frame.
   */
  readonly #oldest = this.#frames.entries()
  readonly #bytesMax: number
  #bytes = 0

  constructor(bytesMax = knownBytesMax) {
    this.#bytesMax = bytesMax
  }

  get(follows: number): Known | undefined {
    return this.#frames.get(follows)
  }

  add(follows: number, known: Known): void {
    // The newest: what is replayed to those who come later names another feed, and each would be read in full.
    this.#bytes -= this.#frames.get(follows)?.bytes.length ?? 0
    this.#frames.delete(follows)
    this.#frames.set(follows, known)
    this.#bytes += known.bytes.length
    // Links are seldom further apart than a few frames. A link that finds its frame gone reads it.
    while (this.#bytes > this.#bytesMax) {
      const [oldest, { bytes }] = this.#oldest.next().value as [number, Known]
      this.#frames.delete(oldest)
      this.#bytes -= bytes.length
    }
  }
}

const knownBytesMax = 8 * 1024 * 1024
const headEnd = Buffer.from('\r\n\r\n')
const blockEnd = Buffer.from('\n\n')
const empty = Buffer.alloc(0)

// One buffer for all sockets: a read is taken in full before the next one begins. libuv reads at most
// 64 KiB at a time.
const readBuffer = Buffer.alloc(64 * 1024)

/**
 * One raw connection. A frame is read in full by the first link that gets it; the others compare its
 * bytes, which checks every byte of every delivery at the cost of one `memcmp`.
 */
export class Link {
  readonly tally: Tally
  readonly #dialect: Dialect
  readonly #events: LinkEvents
  readonly #known: KnownFrames | undefined
  readonly #socket: net.Socket
  #open = false
  #chunked = false
  /** The beginning of something of which the rest has not arrived, in the pieces in which it came. */
  #carry: Buffer[] = []
  #carryBytes = 0
  /** So many bytes it takes altogether, at least. */
  #wantedBytes = 0
  /** The beginning of an SSE block. */
  #block: Buffer = empty
  /** Bytes of the current chunk that have not arrived; HTTP chunked coding. */
  #chunkLeft = 0
  #now = 0
  /** Words of being live that have not come; a connection with several subscriptions has one for each. */
  #livesDue: number

  /** @param known absent to read every frame in full */
  constructor(
    port: number,
    dialect: Dialect,
    tally: Tally,
    known: KnownFrames | undefined,
    events: LinkEvents,
  ) {
    this.tally = tally
    this.#dialect = dialect
    this.#livesDue = dialect.lives ?? 1
    this.#known = known
    this.#events = events
    this.#socket = net.connect({
      host: '127.0.0.1',
      port,
      onread: { buffer: readBuffer, callback: (length, buffer) => this.#take(length, buffer as Buffer) },
    })
    this.#socket.on('connect', () => {
      this.#socket.write(`${[...dialect.request, `Host: 127.0.0.1:${port}`].join('\r\n')}\r\n\r\n`)
    })
    this.#socket.on('error', () => {}) // 'close' follows.
    this.#socket.on('close', () => events.closed())
  }

  /** Stops or continues reading. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  cut(): void {
    this.#socket.destroy()
  }

  #take(length: number, buffer: Buffer): boolean {
    this.#now = monotonicMicros()
    let input = buffer
    let end = length
    if (this.#carryBytes > 0) {
      // Joined once: a large frame comes in many pieces.
      this.#carry.push(Buffer.from(buffer.subarray(0, length)))
      this.#carryBytes += length
      if (this.#carryBytes < this.#wantedBytes) return true
      input = Buffer.concat(this.#carry)
      end = input.length
      this.#carry = []
      this.#carryBytes = 0
    }
    let at = 0
    if (!this.#open) {
      at = this.#takeHead(input, end)
      if (at < 0) return true
    }
    if (this.#dialect.framing === 'websocket') this.#takeFrames(input, at, end)
    else if (this.#chunked) this.#takeChunks(input, at, end)
    else if (at < end) this.#takeBlocks(input, at, end)
    return true
  }

  /** @returns where the body begins, or -1. */
  #takeHead(input: Buffer, end: number): number {
    const at = input.subarray(0, end).indexOf(headEnd)
    if (at < 0) {
      this.#keep(input, 0, end)
      return -1
    }
    const status = input.toString('latin1', 9, 12)
    if (status !== (this.#dialect.framing === 'websocket' ? '101' : '200')) {
      this.#events.malformed(`the server answered ${input.toString('latin1', 0, at)}`)
      this.cut()
      return -1
    }
    this.#open = true
    this.#chunked = /\r\ntransfer-encoding: chunked\r\n/i.test(input.toString('latin1', 0, at + 2))
    if (this.#dialect.opening.length > 0) this.#socket.write(Buffer.concat(this.#dialect.opening))
    if (this.#livesDue === 0) this.#events.live()
    return at + headEnd.length
  }

  #takeFrames(input: Buffer, from: number, end: number): void {
    let at = from
    while (at < end) {
      const head = readFrameHead(input, at, end)
      if (head === undefined) return this.#keep(input, at, end)
      if (head.end > end) return this.#keep(input, at, end, head.end)
      if (head.opcode === opcodes.text || head.opcode === opcodes.binary) {
        if (!head.final) this.#events.malformed('a message came in fragments')
        this.#takePayload(input, head.start, head.end)
      } else if (head.opcode === opcodes.ping) {
        this.#socket.write(clientFrame(opcodes.pong, Buffer.from(input.subarray(head.start, head.end))))
      } else if (head.opcode !== opcodes.pong && head.opcode !== opcodes.close) {
        this.#events.malformed(`a frame has opcode ${head.opcode}`)
      }
      at = head.end
    }
  }

  #takeChunks(input: Buffer, from: number, end: number): void {
    let at = from
    while (at < end) {
      if (this.#chunkLeft === 0) {
        // The line end after a chunk may come with the next chunk: uWebSockets writes it so.
        while (at < end && (input[at] === 13 || input[at] === 10)) at += 1
        const sizeEnd = lineEnd(input, at, end)
        if (sizeEnd < 0) return this.#keep(input, at, end)
        this.#chunkLeft = Number.parseInt(input.toString('latin1', at, sizeEnd), 16)
        if (Number.isNaN(this.#chunkLeft)) return this.#events.malformed('a chunk has no size')
        if (this.#chunkLeft === 0) return
        at = sizeEnd + 2
      }
      const chunkEnd = at + this.#chunkLeft
      // A chunk is usually what was sent at once; taken whole, it can be compared.
      if (chunkEnd > end) return this.#keep(input, at, end, chunkEnd)
      this.#chunkLeft = 0
      this.#takeBlocks(input, at, chunkEnd)
      at = chunkEnd
    }
  }

  #takeBlocks(input: Buffer, start: number, end: number): void {
    const whole = input[end - 1] === 10 && input[end - 2] === 10
    if (whole && this.#block.length === 0) return this.#takePayload(input, start, end)
    const text = Buffer.concat([this.#block, input.subarray(start, end)])
    const blocks = text.lastIndexOf(blockEnd)
    this.#block = blocks < 0 ? text : text.subarray(blocks + 2)
    if (blocks >= 0) this.#takePayload(text, 0, blocks + 2)
  }

  #takePayload(input: Buffer, start: number, end: number): void {
    const { tally } = this
    const known = this.#known?.get(tally.last ?? 0)
    if (
      known !== undefined &&
      known.bytes.length === end - start &&
      tally.canFollow(known) &&
      known.bytes.compare(input, start, end) === 0
    ) {
      tally.follow(known)
      this.#events.delivered(known.events, end - start, known.stamp, this.#now)
      if (known.live) this.#becomeLive()
      return
    }
    this.#read(Buffer.from(input.subarray(start, end)))
  }

  #read(payload: Buffer): void {
    let reading: Reading
    try {
      reading = this.#dialect.read(payload)
    } catch (error) {
      return this.#events.malformed(error instanceof Error ? error.message : String(error))
    }
    const { tally } = this
    const follows = tally.last ?? 0
    const before = tally.position
    const faultless = tally.take(reading)
    const oldest = reading.events[0]
    if (oldest !== undefined) {
      if (faultless) this.#learn(follows, payload, reading, before)
      this.#events.delivered(reading.events.length, payload.length, oldest.stamp, this.#now)
    }
    if (reading.reply !== undefined) this.#socket.write(reading.reply)
    if (reading.live) this.#becomeLive()
  }

  #becomeLive(): void {
    this.#livesDue -= 1
    if (this.#livesDue === 0) this.#events.live()
  }

  #learn(
    follows: number,
    bytes: Buffer,
    { events, live = false }: Reading,
    before: number | undefined,
  ): void {
    const first = events[0]
    if (first === undefined) return
    const { last, position } = this.tally
    const known = {
      bytes,
      events: events.length,
      last: last ?? 0,
      stamp: first.stamp,
      before,
      position,
      live,
    }
    this.#known?.add(follows, known)
  }

  /** @param wanted where it ends, as far as that is known */
  #keep(input: Buffer, at: number, end: number, wanted = end + 1): void {
    if (at === end) return
    this.#carry = [Buffer.from(input.subarray(at, end))]
    this.#carryBytes = end - at
    this.#wantedBytes = wanted - at
  }
}

/** @returns where the line that begins at `at` ends with CR LF, or -1. */
function lineEnd(input: Buffer, at: number, end: number): number {
  for (let here = at; here + 1 < end; here += 1) {
    if (input[here] === 13 && input[here + 1] === 10) return here
  }
  return -1
}
