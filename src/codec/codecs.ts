import { defaultLimits } from '../protocol/limits.js'
import type { Codec } from './codec.js'
import { JsonCodec } from './json.js'
import { MsgpackCodec } from './msgpack.js'
import { ObjectCodec } from './object.js'
import { type Framing, SseCodec, SseCount, SseManyCodec } from './sse.js'

/** The codecs of one hub. */
export class Codecs {
  readonly json = new JsonCodec()
  readonly msgpack: MsgpackCodec
  readonly object = new ObjectCodec()
  readonly #count = new SseCount()
  readonly #sse = {
    one: { named: new SseCodec('named', 'one', this.#count), data: new SseCodec('data', 'one', this.#count) },
    many: { named: new SseManyCodec('named', this.#count), data: new SseManyCodec('data', this.#count) },
  }

  /** @param depthMax levels of data that a client sends */
  constructor(depthMax: number = defaultLimits.depthMax) {
    this.msgpack = new MsgpackCodec(depthMax)
  }

  sse(framing: Framing, topics: 'one' | 'many'): SseCodec {
    return this.#sse[topics][framing]
  }

  /** @returns events encoded so far, by the codec's name. */
  encodings(): ReadonlyMap<string, number> {
    const counted: Codec[] = [this.json, this.msgpack, this.#sse.one.named]
    return new Map(counted.map(({ name, encodings }) => [name, encodings]))
  }
}
