import fc from 'fast-check'
import type { Test } from 'tap'
import type { Chunk, Codec } from '../../src/codec/codec.js'
import { Variants } from '../../src/codec/variants.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Epoch, Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'

export const topic = 'sessions/a'
export const epoch: Epoch = 'e1'

/** A batch as a client of the codec understands it. */
export interface ReadBatch {
  readonly events: readonly HubEvent[]
  /** Where the client would go on from; absent when the batch does not move the position. */
  readonly position: Offset | undefined
}

export interface CodecOptions {
  /** A codec as a new hub has it. */
  readonly make: () => Codec
  /** Reads what `batch` made, as a client does. */
  readonly read: (chunk: Chunk) => ReadBatch
}

// A hub publishes neither: see `canonicalValue`.
const isPlain = (value: JsonValue) => !/__proto__/.test(JSON.stringify(value)) && !hasNegativeZero(value)
const data = fc
  .jsonValue({ maxDepth: 4 })
  .map((value) => value as JsonValue)
  .filter(isPlain)

/** Up to forty events of a session, in order, with and without what is optional. */
export const someEvents: fc.Arbitrary<HubEvent[]> = fc
  .array(
    fc.record(
      {
        step: fc.integer({ min: 1, max: 1_000 }),
        type: fc.stringMatching(/^[A-Za-z0-9._:-]{1,20}$/),
        time: fc.nat(2 ** 48),
        data,
        worker: fc.stringMatching(/^[A-Za-z0-9._~-]{1,12}$/),
        id: fc.string({ minLength: 1, maxLength: 12 }),
        key: fc.string({ minLength: 1, maxLength: 12 }),
        trace: fc.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/),
        tracestate: fc.stringMatching(/^[a-z]{1,8}=[!-+\--<>-~]{1,20}$/),
      },
      { requiredKeys: ['step', 'type', 'time', 'data'] },
    ),
    { maxLength: 40 },
  )
  .map((list) => {
    let offset = 0
    return list.map(({ step, ...event }) => {
      offset += step
      return { offset: offset as Offset, ...event }
    })
  })

/** What every codec of a hub promises. */
export function testCodec(t: Test, name: string, { make, read }: CodecOptions): void {
  t.test(`${name}: what is decoded is what was encoded, in order, with the position after it`, async () => {
    fc.assert(
      fc.property(someEvents, fc.nat(100), (events, more) => {
        const last = ((events.at(-1)?.offset ?? 0) + more) as Offset
        const chunk = make().batch(aBatch(events, { after: 0 as Offset, last }))
        const found = read(chunk)
        return same(found.events, events) && (events.length === 0 || (found.position ?? 0) <= last)
      }),
    )
  })

  t.test(`${name}: a replay does not move the position`, async () => {
    fc.assert(
      fc.property(someEvents, (events) => {
        const { events: found, position } = read(make().batch(aBatch(events, undefined)))
        return same(found, events) && position === undefined
      }),
    )
  })

  t.test(`${name}: encodes an event once, however many feeds it is in`, async (t) => {
    const codec = make()
    const events = [1, 2, 3].map(
      (offset) => ({ offset, type: 'note', time: 1, data: { offset } }) as unknown as HubEvent,
    )
    const variants = events.map((event) => new Variants(event))
    const span = { after: 0 as Offset, last: 3 as Offset }
    const chunks = [1, 2, 1].map((feed) => codec.batch({ feed, topic, epoch, span, events: variants }))
    t.equal(codec.encodings, 3)
    codec.batch({ feed: 3, topic, epoch, span: undefined, events: variants })
    const { encodings } = codec
    t.ok(encodings === 3 || encodings === 6, 'replayed events may have a form of their own')
    codec.batch({ feed: 4, topic, epoch, span: undefined, events: variants })
    t.equal(codec.encodings, encodings)
    t.same(chunks[0], chunks[2], 'the same batch is the same bytes')
    for (const chunk of chunks) t.same(read(chunk).events, events)
  })
}

function aBatch(events: readonly HubEvent[], span: { after: Offset; last: Offset } | undefined) {
  return { feed: 7, topic, epoch, span, events: events.map((event) => new Variants(event)) }
}

function same(found: readonly HubEvent[], events: readonly HubEvent[]): boolean {
  return found.length === events.length && events.every((event, i) => sorted(found[i]) === sorted(event))
}

/** JSON text that does not depend on the order of names. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  )
}

function hasNegativeZero(value: JsonValue): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).some(hasNegativeZero)
  return Object.is(value, -0)
}
