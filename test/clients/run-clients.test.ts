import { Agent, get } from 'node:http'
import t, { type Test } from 'tap'
import { RuncastChatTransport } from '../../src/chat.js'
import type { JsonObject } from '../../src/lib/json.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { type Client, catalogVoice, langGraphVoice, load, loadBundled, shut, skip, tooOld } from './voices.js'

for (const version of ['openai6', 'openai7']) {
  t.test(`${version}: a response is retrieved, whole, streamed and from a number on`, { skip }, async (t) => {
    const { default: OpenAI } = await load(version)
    const { hub, url } = await served(t)
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
    t.match(await client.responses.retrieve('r').catch((error: unknown) => error), {
      status: 404,
      error: { code: 'notFound' },
    })
    const voice = catalogVoice(hub, 'r')
    const follow = (after?: number) => {
      const events: Client[] = []
      const read = async () => {
        const query = { stream: true, ...(after !== undefined && { starting_after: after }) }
        for await (const event of await client.responses.retrieve('r', query)) events.push(event)
      }
      const text = () =>
        events.map(({ type, delta }) => (type === 'response.output_text.delta' ? delta : '')).join('')
      return { events, text, done: read() }
    }
    await voice.begin()
    for (const letter of 'Hello ') await voice.text(letter)
    const live = follow()
    await until('it has the text so far', () => live.text() === 'Hello ')
    await voice.text('wor')
    await until('it has more', () => live.text() === 'Hello wor')
    const middle = live.events.at(-2).sequence_number
    const resumed = follow(middle)
    await until('the rest has come', () => resumed.text() === 'wor')
    const whole = await client.responses.retrieve('r')
    t.match(whole, { status: 'in_progress', output: [{ type: 'message', content: [{ text: 'Hello wor' }] }] })
    const helper = client.responses.stream({ response_id: 'r', starting_after: middle })
    await voice.text('ld')
    await voice.call('t1', 'ls', { path: '/' })
    const inCall = follow(live.events.at(-1).sequence_number)
    await voice.result('t1', 'ls', ['a.txt'])
    await voice.end()
    await Promise.all([live.done, resumed.done, inCall.done])
    t.equal(live.text(), 'Hello world')
    t.equal(resumed.text(), 'world')
    const final = await helper.finalResponse()
    t.match(final, {
      status: 'completed',
      output: [{}, { name: 'ls', arguments: '{"path":"/"}' }, { output: '["a.txt"]' }],
    })
    t.equal(final.output_text, 'Hello world')
    for (const { events } of [live, resumed, inCall]) t.equal(events.at(-1).type, 'response.completed')
    const numbers = live.events.map(({ sequence_number: number }) => number)
    t.same(
      numbers,
      [...new Set(numbers)].sort((one, other) => one - other),
    )
    const rest = resumed.events.map(({ sequence_number: number }) => number)
    t.same(
      rest,
      numbers.filter((number) => number > middle),
      'what is told again has the same numbers',
    )
    const beyond = follow(numbers.at(-1))
    await beyond.done
    t.same(beyond.events, [])
    await voice.begin()
    await voice.text('half')
    const second = follow()
    await until('it has the second run alone', () => second.text() === 'half')
    const failed = t.rejects(second.done)
    await shut(hub, 'r')
    await failed
  })
}

t.test('@langchain/langgraph-sdk: a run is joined, cut, and goes on where it was', { skip }, async (t) => {
  const { Client: LangGraph } = await loadBundled(t, '@langchain/langgraph-sdk')
  for (const own of [false, true]) {
    const { hub, url } = await served(t)
    const client = new LangGraph({ apiUrl: url, callerOptions: { maxRetries: 0 } })
    const voice = own ? langGraphVoice(url, 'run') : catalogVoice(hub, 'run')
    t.test(voice.name, async (t) => {
      const follow = (options?: JsonObject) => {
        const events: { id: string; event: string; data: Client }[] = []
        const read = async () => {
          for await (const event of client.runs.joinStream('thread', 'run', options)) events.push(event)
        }
        const text = () =>
          events.map(({ event, data }) => (event === 'messages' ? data[0].content : '')).join('')
        return { events, text, done: read() }
      }
      await voice.begin()
      await voice.text('Hello ')
      const live = follow()
      await until('it has the text so far', () => live.text() === 'Hello ')
      for (const connection of hub.connections) connection.close('lagging', 'to see it come back')
      await voice.text('wor')
      await until('it has come back', () => live.text() === 'Hello wor')
      const late = follow({ streamMode: ['messages-tuple'] })
      await until('a late joiner has the text so far', () => late.text() === 'Hello wor')
      t.match(await client.runs.get('thread', 'run'), {
        run_id: 'run',
        thread_id: 'thread',
        status: 'running',
      })
      await voice.text('ld')
      await voice.end()
      await Promise.all([live.done, late.done])
      for (const one of [live, late]) {
        t.equal(one.text(), 'Hello world')
        t.equal(one.events[0]?.event, 'metadata')
        t.equal(one.events.at(-1)?.event, 'end')
      }
      t.match(await client.runs.get('thread', 'run'), { status: 'success' })
      const over = follow({ lastEventId: live.events.at(-1)?.id ?? '' })
      await over.done
      t.same(
        over.events.map(({ event }) => event),
        ['end'],
        'who has it all is told the end',
      )
    })
  }
})

for (const own of [false, true]) {
  const shape = own ? 'its own shape' : 'the built-in catalog'
  t.test(
    `@langchain/langgraph-sdk: protocol v2 follows a thread of ${shape}, from run to run`,
    { skip },
    async (t) => {
      const { Client: LangGraph } = await loadBundled(t, '@langchain/langgraph-sdk')
      const { hub, server, url } = await served(t)
      const client = new LangGraph({ apiUrl: url, callerOptions: { maxRetries: 0 } })
      const follow = async (maxReconnectAttempts = 5) => {
        const options = { assistantId: 'agent', maxReconnectAttempts, reconnectDelayMs: () => 1 }
        const thread: Client = client.threads.stream('th', options)
        t.teardown(() => thread.close())
        const events: Client[] = []
        const read = async () => {
          for await (const event of await thread.subscribe(['messages', 'tools', 'lifecycle']))
            events.push(event)
        }
        const done = read().catch(() => undefined)
        const of = (method: string) =>
          events.filter((event) => event.method === method).map(({ params }) => params.data)
        const text = () =>
          of('messages')
            .map(({ delta }) => delta?.text ?? '')
            .join('')
        const ends = () => of('lifecycle').map(({ event }) => event)
        return { thread, events, of, text, ends, done }
      }
      const early = await follow()
      await until('it waits for a run', () => hub.stats().subscriptions === 1)
      const voice = own ? langGraphVoice(url, 'th') : catalogVoice(hub, 'th')
      await voice.begin()
      await voice.text('Hello ')
      await until('it has the text so far', () => early.text() === 'Hello ')
      for (const connection of hub.connections) connection.close('lagging', 'to see it come back')
      await voice.text('world')
      await until('it has come back, and has nothing twice', () => early.text() === 'Hello world')
      const late = await follow()
      await until('a late joiner has it too', () => late.text() === 'Hello world')
      await voice.call('t1', 'ls', { path: '/' })
      await voice.result('t1', 'ls', ['a.txt'])
      await voice.text('.')
      await voice.end()
      for (const one of [early, late]) {
        await until('the run has ended', () => one.ends().at(-1) === 'completed')
        t.strictSame(one.ends(), ['started', 'completed'])
        t.equal(one.text(), 'Hello world.')
        t.match(one.of('tools'), [
          { event: 'tool-started', tool_call_id: 't1', tool_name: 'ls', input: { path: '/' } },
          { event: 'tool-finished', tool_call_id: 't1', output: ['a.txt'] },
        ])
        const blocks = one.of('messages').filter(({ event }) => event === 'content-block-finish')
        t.match(
          blocks.map(({ content }) => content),
          [{ text: 'Hello world' }, { type: 'tool_call', name: 'ls', args: { path: '/' } }, { text: '.' }],
        )
      }
      const body = JSON.stringify({ channels: ['lifecycle', 'odd'] })
      const bad = await fetch(`${url}/threads/th/stream/events`, { method: 'POST', body })
      t.match([bad.status, await bad.json()], [400, { detail: /channels: expected a list of/ }])
      await early.thread.close()
      const last = await follow(0)
      await until('it waits for the next run', () => hub.stats().subscriptions > 0)
      await voice.begin()
      await voice.text('half')
      await until('it has the second run alone', () => last.text() === 'half')
      await server.close({ graceMs: 1_000 })
      await last.done
      t.strictSame(last.ends(), ['started'], 'half a message is never a whole one')
    },
  )
}

t.test('a thousand watchers of a run cost one encoding an event', { skip }, async (t) => {
  const { hub, url } = await served(t)
  const voice = catalogVoice(hub, 'many')
  await voice.begin()
  await voice.text('so far')
  const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY })
  t.teardown(() => agent.destroy())
  const watchers = Array.from({ length: 1_000 }, () => watch(t, agent, `${url}/api/chat/many/stream`))
  await until('all have what was told', () => watchers.every((text) => text().includes('so far')))
  const before = hub.stats().encodings.get('sse:ai-sdk') ?? 0
  for (let n = 0; n < 10; n++) {
    await voice.text(`<${n}>`)
    hub.flush()
  }
  await until('all have the rest', () => watchers.every((text) => text().includes('<9>')))
  t.equal((hub.stats().encodings.get('sse:ai-sdk') ?? 0) - before, 10)
})

function watch(t: Test, agent: Agent, url: string): () => string {
  let text = ''
  const request = get(url, { agent }, (response) => {
    response.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
    })
    response.on('error', () => {})
  })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  return () => text
}

t.test(
  'a hub that shuts down in the middle is never taken for an agent that has finished',
  { skip },
  async (t) => {
    const half = 'half a mess'
    /** Follows a run. @returns the text so far, and how it ended: `failed` or `finished` */
    type Follow = (url: string) => Promise<{ text: () => string; ended: Promise<string> }>
    const outcome = (done: Promise<unknown>) =>
      done.then(
        () => 'finished',
        () => 'failed',
      )
    const chatOf =
      (version: string, transportOf: (sdk: Client, url: string) => object): Follow =>
      async (url) => {
        const sdk = await load(version)
        const state = {
          status: 'ready',
          error: undefined,
          messages: [] as Client[],
          pushMessage: (message: Client) => void state.messages.push(message),
          popMessage: () => void state.messages.pop(),
          replaceMessage: (index: number, message: Client) => void (state.messages[index] = message),
          snapshot: <T>(value: T) => structuredClone(value),
        }
        class Chat extends sdk.AbstractChat {
          constructor() {
            super({ id: 'run', state, transport: transportOf(sdk, url) })
          }
        }
        const chat: Client = new Chat()
        const done = chat.resumeStream()
        const text = () =>
          (state.messages.at(-1)?.parts ?? []).map((part: Client) => part.text ?? '').join('')
        return { text, ended: done.then(() => (state.status === 'error' ? 'failed' : 'finished')) }
      }
    const plain = (sdk: Client, url: string) => new sdk.DefaultChatTransport({ api: `${url}/api/chat` })
    const own = (_: Client, url: string) => new RuncastChatTransport({ url, retriesMax: 1, fetch })
    const { HttpAgent } = await load('@ag-ui/client')
    const { Client: LangGraph } = await loadBundled(t, '@langchain/langgraph-sdk')
    const follows: Record<string, Follow> = {
      'ai6, its own transport': chatOf('ai6', plain),
      "ai6, the hub's transport": chatOf('ai6', own),
      ...(!tooOld && {
        'ai7, its own transport': chatOf('ai7', plain),
        "ai7, the hub's transport": chatOf('ai7', own),
      }),
      '@ag-ui/client': async (url) => {
        const agent: Client = new HttpAgent({ url: `${url}/ag-ui/run`, threadId: 'run' })
        const types: string[] = []
        const onEvent = ({ event }: { event: { type: string } }) => void types.push(event.type)
        const done = agent.runAgent({ runId: 'x' }, { onEvent })
        const text = () => agent.messages.map(({ content }: Client) => content ?? '').join('')
        // It says that a run failed by an event, and ends well.
        return {
          text,
          ended: outcome(done).then((how) => (types.at(-1) === 'RUN_FINISHED' ? how : 'failed')),
        }
      },
      ...Object.fromEntries(
        ['openai6', 'openai7'].map((version): [string, Follow] => [
          version,
          async (url) => {
            const { default: OpenAI } = await load(version)
            const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
            let text = ''
            const read = async () => {
              for await (const event of await client.responses.retrieve('run', { stream: true })) {
                if (event.type === 'response.output_text.delta') text += event.delta
              }
            }
            return { text: () => text, ended: outcome(read()) }
          },
        ]),
      ),
      '@langchain/langgraph-sdk': async (url) => {
        const client = new LangGraph({ apiUrl: url, callerOptions: { maxRetries: 0 } })
        let text = ''
        const read = async () => {
          for await (const { event, data } of client.runs.joinStream('thread', 'run')) {
            if (event === 'messages') text += data[0].content
          }
        }
        return { text: () => text, ended: outcome(read()) }
      },
    }
    const { hub, server, url } = await served(t)
    const voice = catalogVoice(hub, 'run')
    await voice.begin()
    await voice.text(half)
    const runs = await Promise.all(
      Object.entries(follows).map(async ([name, follow]) => ({ name, ...(await follow(url)) })),
    )
    for (const { name, text } of runs) await until(`${name} has half of it`, () => text().includes(half))
    await server.close({ graceMs: 1_000 })
    for (const { name, ended, text } of runs) {
      t.equal(await ended, 'failed', `${name} was told`)
      t.ok(text().includes(half), `${name} keeps what it has`)
    }
  },
)
