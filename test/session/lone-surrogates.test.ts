import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject } from '../../src/lib/json.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { openStore } from '../../src/store/open.js'

/** @returns the texts that the events become, by offset */
async function textsOf(events: readonly (NewEvent & { readonly worker?: string })[], field = 'content') {
  const hub = createHub()
  for (const { worker, ...event } of events) {
    hub.publishTo('s', worker, [event])
  }
  const { events: kept } = await hub.readHistory('sessions/s/**')
  return kept.map(({ data }) => (data as JsonObject)[field])
}

const delta = (content: string, more: object = {}): NewEvent => ({
  type: 'llm_text_delta',
  data: { content, ...more },
})

t.test('a character that is cut over two pieces of a text is put together', async (t) => {
  t.strictSame(await textsOf(['Hi ', '\ud83d', '\ude00', '!'].map((text) => delta(text))), [
    'Hi ',
    '',
    '😀',
    '!',
  ])
  t.strictSame(await textsOf([delta('a\ud83d'), delta('\ude00b\ud83d'), delta('\ude01')]), ['a', '😀b', '😁'])
})

t.test('a half that nothing continues is U+FFFD, and the last one of a stream goes', async (t) => {
  t.strictSame(await textsOf([delta('a\ud83d'), delta('b'), delta('c\ud83d')]), ['a', '\ufffdb', 'c'])
  t.strictSame(await textsOf([delta('\ude00a'), delta('\ud83d\ud83d'), delta('\ude00')]), [
    '\ufffda',
    '\ufffd',
    '😀',
  ])
})

t.test('a half waits for its own type, worker, key and place', async (t) => {
  const input = (toolCallId: string, text: string): NewEvent => ({
    type: 'data-tool-input-delta',
    data: { toolCallId, input_text_delta: text },
  })
  t.strictSame(
    await textsOf(
      [
        input('a', '1\ud83d'),
        input('b', '2\ud83d'),
        input('b', 'x'),
        input('a', '\ude00'),
        input('c', '\ude00'),
      ],
      'input_text_delta',
    ),
    ['1', '2', '\ufffdx', '😀', '\ufffd'],
    'calls of tools that are told apart by a field',
  )
  t.strictSame(
    await textsOf([
      { ...delta('1\ud83d'), worker: 'a' },
      { ...delta('2\ud83d'), worker: 'b' },
      { ...delta('3\ud83d'), key: 'k' },
      { type: 'client_output_delta', data: { content: '\ude00' } },
      { ...delta('\ude01'), worker: 'a' },
      { ...delta('\ude02'), key: 'k' },
      { ...delta('\ude03'), worker: 'b' },
    ]),
    ['1', '2', '3', '\ufffd', '😁', '😂', '😃'],
  )
  t.strictSame(
    await textsOf([delta('a\ud83d', { snapshot: 'a\ud83d' }), delta('\ude00', { snapshot: 'a😀' })]),
    ['a', '😀'],
    'a field that grows with each piece',
  )
})

t.test('of streams without an end a bounded number waits', async (t) => {
  const hub = createHub()
  const worker = (id: number) => hub.session('s').worker(`w${id}`)
  for (let id = 0; id < 65; id += 1) worker(id).publish(delta('\ud83d'))
  for (const id of [0, 1]) worker(id).publish(delta('\ude00'))
  const texts = (id: number) =>
    hub.history(`sessions/s/workers/w${id}`).events.map(({ data }) => (data as JsonObject).content)
  t.strictSame(
    [texts(0), texts(1)],
    [
      ['', '\ufffd'],
      ['', '😀'],
    ],
  )
})

t.test('a half is stored in the commit of its event, and goes with the session', async (t) => {
  const directory = t.testdir()
  const run = async (...events: NewEvent[]) => {
    const hub = createHub({ store: await openStore({ directory }) })
    for (const event of events) hub.session('s').publish(event)
    await hub.committed('s')
    const { events: kept } = await hub.readHistory('sessions/s')
    if (events.length === 0) hub.endSession('s')
    hub.close()
    await hub.closeStore()
    return kept.map(({ data }) => (data as JsonObject).content)
  }
  t.strictSame(await run(delta('a\ud83d')), ['a'])
  t.strictSame(await run(delta('\ude00b\ud83d')), ['a', '😀b'])
  t.strictSame(await run(), ['a', '😀b'])
})
