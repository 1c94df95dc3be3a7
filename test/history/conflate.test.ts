import fc from 'fast-check'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { defaultTraits } from '../../src/catalog/traits.js'
import { conflate } from '../../src/history/conflate.js'
import { Entry } from '../../src/history/entry.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import type { HubEvent } from '../../src/protocol/frames.js'

const catalog = createCatalog()

function entry(offset: number, type: string, data: HubEvent['data'] = null, force = false): Entry {
  const event = { offset, type, time: 0, data } as HubEvent
  return new Entry(event, catalog.traitsOf(type), JSON.stringify(data).length, { force })
}

t.test('conflated text equals the full text, at the last offset, and nothing else is joined', async () => {
  const step = fc.record({
    type: fc.constantFrom('llm_text_delta', 'llm_text_delta', 'tool_call_started'),
    content: fc.string(),
    message: fc.constantFrom(1, 2),
    force: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const entries = steps.map(({ type, content, message, force }, index) =>
        entry(index + 1, type, { content, message }, force),
      )
      const joined = conflate(entries)
      const text = (list: readonly Entry[]) =>
        list.map(({ event }) => (event.data as { content: string }).content).join('')
      for (const [index, one] of joined.entries()) {
        const next = joined[index + 1]
        if (next === undefined) break
        const alike =
          one.event.type === 'llm_text_delta' &&
          next.event.type === one.event.type &&
          one.force === next.force &&
          JSON.stringify({ ...(one.event.data as object), content: '' }) ===
            JSON.stringify({ ...(next.event.data as object), content: '' })
        if (alike || one.offset >= next.offset) return false
      }
      return text(joined) === text(entries) && joined.at(-1)?.offset === entries.at(-1)?.offset
    }),
  )
})

t.test('a text within is joined, and what may differ is the last one’s', async (t) => {
  const responses = (n: number, text: string, item = 'a') =>
    entry(n, 'response.output_text.delta', {
      item_id: item,
      delta: text,
      sequence_number: n,
      obfuscation: `${n}`,
    })
  const joined = conflate([
    responses(1, 'one '),
    responses(2, 'two '),
    responses(3, 'three'),
    responses(4, 'b', 'b'),
  ])
  t.same(
    joined.map(({ event: { data } }) => data),
    [
      { item_id: 'a', delta: 'one two three', sequence_number: 3, obfuscation: '3' },
      { item_id: 'b', delta: 'b', sequence_number: 4, obfuscation: '4' },
    ],
  )
  const block = (n: number, delta: JsonObject, index = 0) =>
    entry(n, 'content_block_delta', { type: 'content_block_delta', index, delta })
  const blocks = conflate([
    block(1, { type: 'text_delta', text: 'a' }),
    block(2, { type: 'text_delta', text: 'b' }),
    block(3, { type: 'text_delta', text: 'c' }, 1),
    block(4, { type: 'input_json_delta', partial_json: '{"x"' }, 1),
    block(5, { type: 'input_json_delta', partial_json: ':1}' }, 1),
    block(6, { type: 'signature_delta', signature: 's' }, 1),
    block(7, { type: 'signature_delta', signature: 's' }, 1),
  ])
  t.same(
    blocks.map(({ event: { data } }) => (data as JsonObject)['delta']),
    [
      { type: 'text_delta', text: 'ab' },
      { type: 'text_delta', text: 'c' },
      { type: 'input_json_delta', partial_json: '{"x":1}' },
      { type: 'signature_delta', signature: 's' },
      { type: 'signature_delta', signature: 's' },
    ],
  )
  const tuple = (n: number, content: string, step = 1) =>
    entry(n, 'langgraph.messages', { event: 'messages', data: [{ id: 'm', content }, { step }] })
  t.same(
    conflate([tuple(1, 'a'), tuple(2, 'b'), tuple(3, 'c', 2)]).map(({ event: { data } }) => data),
    [
      { event: 'messages', data: [{ id: 'm', content: 'ab' }, { step: 1 }] },
      { event: 'messages', data: [{ id: 'm', content: 'c' }, { step: 2 }] },
    ],
  )
})

/** @returns the texts of what is left when events with these data, and otherwise alike, are conflated */
function textsOf(...data: readonly JsonValue[]): unknown[] {
  return conflate(data.map((one, at) => entry(at + 1, 'llm_text_delta', one))).map(
    ({ event: { data } }) => (data as JsonObject)?.['content'],
  )
}

t.test('events are joined only where their data differ in nothing but the text', async (t) => {
  const a = { content: 'a', message: 1 }
  t.same(textsOf(a, { ...a, content: 'b' }), ['ab'])
  t.same(textsOf(a, { content: 'b' }), ['a', 'b'], 'a field less')
  t.same(textsOf({ content: 'a' }, { content: 'b', message: 1 }), ['a', 'b'], 'a field more')
  t.same(textsOf(a, { content: 'b', other: 1 }), ['a', 'b'], 'another field')
  t.same(textsOf(a, { content: 5, message: 1 }), ['a', 5], 'no text')
  t.same(textsOf(a, [a]), ['a', undefined], 'another kind of value')
  t.same(textsOf(a, 'b', a), ['a', undefined, 'a'])
  const deep = (content: string, list: JsonValue) => ({ content, list })
  t.same(textsOf(deep('a', [1, { x: 2 }]), deep('b', [1, { x: 2 }])), ['ab'])
  t.same(textsOf(deep('a', [1, { x: 2 }]), deep('b', [1, { x: 3 }])), ['a', 'b'])
})

t.test('events of another worker, key, attempt, force or type are not joined', async (t) => {
  const base = { type: 'llm_text_delta', time: 0, data: { content: 'x' }, key: 'k', worker: 'w' }
  const traits = catalog.traitsOf('llm_text_delta')
  const joinedWith = (change: object, force = false): number => {
    const [one, other] = [
      { ...base, offset: 1 },
      { ...base, offset: 2, ...change },
    ] as unknown as HubEvent[]
    return conflate([
      new Entry(one as HubEvent, traits, 10),
      new Entry(other as HubEvent, traits, 10, { force }),
    ]).length
  }
  t.equal(joinedWith({}), 1)
  for (const change of [
    { worker: 'v' },
    { key: 'l' },
    { type: 'other' },
    { attempt: { step: 's', number: 0 } },
  ])
    t.equal(joinedWith(change), 2, JSON.stringify(change))
  t.equal(joinedWith({}, true), 2, 'force')
  const attempts = [
    { step: 's', number: 0 },
    { step: 's', number: 0 },
    { step: 's', number: 1 },
    { step: 'u', number: 1 },
  ]
  const joined = conflate(
    attempts.map(
      (attempt, at) => new Entry({ ...base, offset: at + 1, attempt } as unknown as HubEvent, traits, 10),
    ),
  )
  t.same(
    joined.map(({ offset, bytes }) => [offset, bytes]),
    [
      [2, 20],
      [3, 10],
      [4, 10],
    ],
    'attempts are compared by value, and what is joined weighs what its parts do',
  )
})

t.test(
  'a joined text has no id, keeps what passes filters, and is no longer than a link must carry',
  async (t) => {
    const half = 'x'.repeat(16 * 1024)
    const texts = (...data: string[]) =>
      conflate(data.map((content, at) => entry(at + 1, 'llm_text_delta', { content }))).map(
        ({ offset }) => offset,
      )
    t.same(texts(half, half), [2], '32 Ki is one event')
    t.same(texts(half, `${half}x`), [1, 2], 'more is two')
    const event = {
      offset: 1,
      type: 'llm_text_delta',
      time: 0,
      data: { content: 'a' },
      id: 'i',
    } as unknown as HubEvent
    const parts = [1, 2].map(
      (offset) =>
        new Entry({ ...event, offset } as HubEvent, catalog.traitsOf('llm_text_delta'), 5, { force: true }),
    )
    const [joined] = conflate(parts)
    t.notOk('id' in (joined?.event ?? {}))
    t.equal(joined?.force, true)
    t.same(event.data, { content: 'a' }, 'and its parts are as they were')
  },
)

t.test('a list in which nothing is joined is the same list, and one event stays itself', async (t) => {
  const list = [entry(1, 'tool_call_started'), entry(2, 'llm_text_delta', { content: 'a' })]
  t.equal(conflate(list), list)
  const joined = conflate([
    ...list,
    entry(3, 'llm_text_delta', { content: 'b' }),
    entry(4, 'tool_call_started'),
  ])
  t.equal(joined[0], list[0])
  t.same(
    joined.map(({ offset }) => offset),
    [1, 3, 4],
  )
  const plain = { offset: 1, type: 'made.up', time: 0, data: { content: 'a' } } as unknown as HubEvent
  const two = [new Entry(plain, defaultTraits, 1), new Entry(plain, defaultTraits, 1)]
  t.equal(conflate(two), two, 'a type without the trait is never joined')
})
