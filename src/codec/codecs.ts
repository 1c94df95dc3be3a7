import { type Clock, systemClock } from '../lib/clock.js'
import type { TextBounds } from '../lib/json-text.js'
import { defaultLimits } from '../protocol/limits.js'
import { type Codec, EncodingCount } from './codec.js'
import type { Dialect } from './dialect.js'
import { DialectCodec } from './dialect-codec.js'
import { DurableStreamCodec, type FindEnd, type MessageKind } from './durable-stream.js'
import { JsonCodec } from './json.js'
import { MsgpackCodec } from './msgpack.js'
import { ObjectCodec } from './object.js'
import { RunCodec } from './run-codec.js'
import type { DialectRuns } from './runs.js'
import { type Framing, SseCodec, SseManyCodec } from './sse.js'

/** The codecs of one hub. */
export class Codecs {
  readonly json: JsonCodec
  readonly msgpack: MsgpackCodec
  readonly object = new ObjectCodec()
  readonly #clock: Clock
  readonly #dialects = new Map<string, DialectCodec>()
  readonly #runs = new Map<string, RunCodec>()
  readonly #streams = new Map<MessageKind, DurableStreamCodec>()
  readonly #counts = { json: new EncodingCount(), blocks: new EncodingCount() }
  readonly #sse = {
    one: {
      named: new SseCodec('named', 'one', this.#counts),
      data: new SseCodec('data', 'one', this.#counts),
      'data and gaps': new SseCodec('data and gaps', 'one', this.#counts),
    },
    unnamed: {
      named: new SseCodec('named', 'one', this.#counts, false),
      data: new SseCodec('data', 'one', this.#counts, false),
      'data and gaps': new SseCodec('data and gaps', 'one', this.#counts, false),
    },
    many: {
      named: new SseManyCodec('named', this.#counts),
      data: new SseManyCodec('data', this.#counts),
      'data and gaps': new SseManyCodec('data and gaps', this.#counts),
    },
  }

  /** @param bounds of what clients send */
  constructor(clock: Clock = systemClock, bounds: TextBounds = defaultLimits) {
    this.#clock = clock
    this.json = new JsonCodec(bounds, this.#counts.json)
    this.msgpack = new MsgpackCodec(bounds)
  }

  /** @param topics `unnamed`: one, which the data of its events does not name */
  sse(framing: Framing, topics: 'one' | 'unnamed' | 'many'): SseCodec {
    return this.#sse[topics][framing]
  }

  /** @param dialect a dialect with `stream`; the same name returns the same codec */
  dialect({ name, stream }: Dialect & Required<Pick<Dialect, 'stream'>>): DialectCodec {
    let codec = this.#dialects.get(name)
    if (codec === undefined) {
      codec = new DialectCodec(name, stream, () => this.#clock.now())
      this.#dialects.set(name, codec)
    }
    return codec
  }

  /** @param name of a dialect that tells runs; the same name returns the same codec */
  runs(name: string, runs: DialectRuns): RunCodec {
    let codec = this.#runs.get(name)
    if (codec === undefined) this.#runs.set(name, (codec = new RunCodec(name, runs)))
    return codec
  }

  /**
   * The codec of Durable Streams with messages of a kind.
   *
   * @param findEnd the same for all
   * @param cursor of a client that needs control events of its own; the messages are those of all clients
   */
  durableStream(kind: MessageKind, findEnd: FindEnd, cursor?: number): DurableStreamCodec {
    let codec = this.#streams.get(kind)
    if (codec === undefined) {
      codec = new DurableStreamCodec(kind, { clock: this.#clock, findEnd })
      this.#streams.set(kind, codec)
    }
    return cursor === undefined ? codec : codec.withOwnCursor(cursor)
  }

  /** @returns the number of encodings so far, by the codec's name */
  encodings(): ReadonlyMap<string, number> {
    const counted: Codec[] = [
      this.json,
      this.msgpack,
      this.#sse.one.named,
      ...this.#dialects.values(),
      ...this.#runs.values(),
      ...this.#streams.values(),
    ]
    return new Map(counted.map(({ name, encodings }) => [name, encodings]))
  }
}
