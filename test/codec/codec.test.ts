import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import t from 'tap'
import type { Chunk } from '../../src/codec/codec.js'
import { Codecs } from '../../src/codec/codecs.js'
import { Variants } from '../../src/codec/variants.js'
import { EventStreamReader, type StreamEvent } from '../../src/lib/event-stream.js'
import { type Offset, parseCursor } from '../../src/protocol/cursor.js'
import type { ControlFrame, Events, HubEvent } from '../../src/protocol/frames.js'
import { epoch, type ReadBatch, someEvents, testCodec, topic } from '../conformance/codec.js'

function bytesOf(chunk: Chunk): Uint8Array {
  if (!(chunk instanceof Uint8Array)) throw new Error('expected bytes')
  return chunk
}

function ofFrame(frame: unknown): ReadBatch {
  const { events, last } = frame as Events
  return { events: events.map(({ replay: _, ...event }) => event), position: last }
}

/** Reads with a parser that others wrote. */
function ofStream(chunk: Chunk): ReadBatch {
  const events: HubEvent[] = []
  let position: Offset | undefined
  const parser = createParser({
    onEvent: ({ id, data }) => {
      const { topic: _, replay: __, ...event } = JSON.parse(data) as HubEvent & { topic: string }
      events.push(event)
      if (id !== undefined) position = parseCursor(id, 'id').offset
    },
    onError: (error) => {
      throw error
    },
  })
  parser.feed(Buffer.from(bytesOf(chunk)).toString())
  return { events, position }
}

testCodec(t, 'json', {
  make: () => new Codecs().json,
  read: (chunk) => ofFrame(JSON.parse(Buffer.from(bytesOf(chunk)).toString())),
})
testCodec(t, 'msgpack', {
  make: () => new Codecs().msgpack,
  read: (chunk) => ofFrame(new Codecs().msgpack.decode(bytesOf(chunk))),
})
for (const framing of ['named', 'data'] as const) {
  for (const topics of ['one', 'many'] as const) {
    testCodec(t, `sse, ${framing}, ${topics}`, {
      make: () => new Codecs().sse(framing, topics),
      read: ofStream,
    })
  }
}

t.test('both subprotocols carry the same frames', async (t) => {
  const { json, msgpack } = new Codecs()
  const frames: ControlFrame[] = [
    { type: 'live', sub: 1, offset: 3 as Offset },
    {
      type: 'gap',
      sub: 1,
      reason: 'lagging',
      after: 1 as Offset,
      offset: 3 as Offset,
      slices: { a: [null] },
    },
    { type: 'unsubscribed', sub: 2 ** 31, code: 'asked', reason: 'grüße, 世界' },
    { type: 'error', ref: 'r', code: 'badFrame', message: '"' },
  ]
  for (const frame of frames) {
    t.same(json.decode(json.control(frame)), frame)
    t.same(msgpack.decode(msgpack.control(frame)), frame)
  }
})

t.test('a stream reads alike in any chunking, cut within characters too', async () => {
  const codec = new Codecs().sse('named', 'one')
  fc.assert(
    fc.property(someEvents, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (events, sizes) => {
      const span = { after: 0 as Offset, last: (events.at(-1)?.offset ?? 1) as Offset }
      const batch = { feed: 1, topic, epoch, span, events: events.map((event) => new Variants(event)) }
      const bytes = bytesOf(codec.batch(batch))
      const whole = readIn([bytes])
      const parts: Uint8Array[] = []
      for (let from = 0; from < bytes.length; ) {
        const to = from + (sizes.next().value as number)
        parts.push(bytes.subarray(from, to))
        from = to
      }
      const pieces = readIn(parts)
      return (
        pieces.lastId === whole.lastId &&
        JSON.stringify(pieces.blocks) === JSON.stringify(whole.blocks) &&
        whole.blocks.length === events.length
      )
    }),
  )
})

function readIn(parts: readonly Uint8Array[]): { blocks: StreamEvent[]; lastId: string | undefined } {
  const blocks: StreamEvent[] = []
  const reader = new EventStreamReader((block) => blocks.push(block))
  for (const part of parts) reader.push(part)
  return { blocks, lastId: reader.lastId }
}
