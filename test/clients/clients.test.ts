import { existsSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import { RuncastChatTransport } from '../../src/chat.js'
import type { Hub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

/*
 * Clients that others wrote, against what the hub tells them: in the shape that they were published in, and of the
 * built-in catalog. `npm ci --prefix test/clients` installs them.
 */
const skip = existsSync(new URL('node_modules/ai6', import.meta.url)) ? false : 'npm ci --prefix test/clients'

// They have types that this project does not need to check.
// oxlint-disable-next-line typescript/no-explicit-any -- what they export is theirs
type Client = any
const load = (name: string): Promise<Client> => import(name)

/** One whose modules require each other in circles, which the hooks of the test runner do not allow. */
async function loadBundled(t: Test, name: string): Promise<Client> {
  const file = join(t.testdir(), 'client.mjs')
  const contents = `export * from '${name}'`
  const resolveDir = fileURLToPath(new URL('.', import.meta.url))
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"
  await build({
    stdin: { contents, resolveDir },
    outfile: file,
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: banner },
    logLevel: 'error',
  })
  return load(pathToFileURL(file).href)
}

/** An agent that says the same in two ways. */
interface Voice {
  readonly name: string
  begin(): Promise<void>
  text(text: string): Promise<void>
  call(id: string, name: string, input: JsonValue): Promise<void>
  result(id: string, name: string, result: JsonValue): Promise<void>
  end(): Promise<void>
  fail(error: string): Promise<void>
}

function catalogVoice(hub: Hub, session: string): Voice {
  const say = async (type: string, data: JsonObject) => void hub.session(session).publish({ type, data })
  return {
    name: 'the built-in catalog',
    begin: () => say('execution_started', { model: 'm' }),
    text: (content) => say('client_output_delta', { content }),
    call: (id, name, input) =>
      say('tool_call_started', { tool_use_id: id, tool_name: name, tool_input: input }),
    result: (id, name, result) =>
      say('tool_call_completed', { tool_use_id: id, tool_name: name, result, is_error: false }),
    end: () => say('execution_completed', {}),
    fail: (error) => say('execution_failed', { error }),
  }
}

/** @param objects what each says, in the shape of the dialect */
function ownVoice(
  url: string,
  session: string,
  dialect: string,
  objects: Record<Exclude<keyof Voice, 'name'>, (...given: never[]) => JsonObject[]>,
): Voice {
  const post = async (lines: readonly JsonObject[]) => {
    const answer = await fetch(`${url}/api/sessions/${session}/events?dialect=${dialect}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    })
    if (!answer.ok) throw new Error(await answer.text())
  }
  const say =
    (name: Exclude<keyof Voice, 'name'>) =>
    (...given: unknown[]) =>
      post(objects[name](...(given as never[])))
  return {
    name: 'its own shape',
    begin: say('begin'),
    text: say('text'),
    call: say('call'),
    result: say('result'),
    end: say('end'),
    fail: say('fail'),
  }
}

function langGraphVoice(url: string, session: string): Voice {
  const chunk = (fields: JsonObject) => ({
    event: 'messages',
    data: [{ type: 'AIMessageChunk', id: 'm', content: '', ...fields }, { langgraph_node: 'n' }],
  })
  const result = (id: string, name: string, content: JsonObject[string]) => ({
    event: 'messages',
    data: [
      { type: 'tool', id: `result-${id}`, tool_call_id: id, name, content },
      { langgraph_node: 'tools' },
    ],
  })
  return ownVoice(url, session, 'langgraph', {
    begin: () => [{ event: 'metadata', data: { run_id: session } }],
    text: (content: string) => [chunk({ content })],
    call: (id: string, name: string, input: JsonObject) => [
      chunk({ tool_call_chunks: [{ id, name, args: '', index: 0 }] }),
      chunk({ tool_call_chunks: [{ id: null, name: null, args: JSON.stringify(input), index: 0 }] }),
    ],
    result: (id: string, name: string, content: JsonObject[string]) => [result(id, name, content)],
    end: () => [{ event: 'end', data: null }],
    fail: (text: string) => [{ event: 'error', data: { error: 'RunFailed', message: text } }],
  })
}

function aiSdkVoice(url: string, session: string): Voice {
  let part = 0
  return ownVoice(url, session, 'ai-sdk', {
    begin: () => [{ type: 'start' }, { type: 'start-step' }, { type: 'text-start', id: `${++part}` }],
    text: (delta: string) => [{ type: 'text-delta', id: `${part}`, delta }],
    call: (toolCallId: string, toolName: string, input: JsonValue) => [
      { type: 'text-end', id: `${part}` },
      { type: 'tool-input-start', toolCallId, toolName },
      { type: 'tool-input-delta', toolCallId, inputTextDelta: JSON.stringify(input) },
      { type: 'tool-input-available', toolCallId, toolName, input },
      { type: 'text-start', id: `${++part}` },
    ],
    result: (toolCallId: string, _: string, output: JsonValue) => [
      { type: 'tool-output-available', toolCallId, output },
    ],
    end: () => [
      { type: 'text-end', id: `${part}` },
      { type: 'finish-step' },
      { type: 'finish', finishReason: 'stop' },
    ],
    fail: (errorText: string) => [{ type: 'error', errorText }],
  })
}

function agUiVoice(url: string, session: string): Voice {
  let run = 0
  let message = 0
  const id = () => `m${run}.${message}`
  return ownVoice(url, session, 'ag-ui', {
    begin: () => [
      { type: 'RUN_STARTED', threadId: session, runId: `r${++run}` },
      { type: 'TEXT_MESSAGE_START', messageId: id(), role: 'assistant' },
    ],
    text: (delta: string) => [{ type: 'TEXT_MESSAGE_CONTENT', messageId: id(), delta }],
    call: (toolCallId: string, toolCallName: string, input: JsonValue) => [
      { type: 'TEXT_MESSAGE_END', messageId: id() },
      { type: 'TOOL_CALL_START', toolCallId, toolCallName },
      { type: 'TOOL_CALL_ARGS', toolCallId, delta: JSON.stringify(input) },
      { type: 'TOOL_CALL_END', toolCallId },
    ],
    result: (toolCallId: string, _: string, result: JsonValue) => [
      { type: 'TOOL_CALL_RESULT', messageId: `${toolCallId}-r`, toolCallId, content: JSON.stringify(result) },
      { type: 'TEXT_MESSAGE_START', messageId: `m${run}.${++message}`, role: 'assistant' },
    ],
    end: () => [
      { type: 'TEXT_MESSAGE_END', messageId: id() },
      { type: 'RUN_FINISHED', threadId: session, runId: `r${run}` },
    ],
    fail: (error: string) => [{ type: 'RUN_ERROR', message: error }],
  })
}

const shut = (hub: Hub, session: string) => hub.removeSession(session)

/** What `ai` 7 says of itself. */
const tooOld =
  Number(process.versions.node.split('.')[0]) < 22 && `ai 7 wants Node 22; this is ${process.version}`
const skipOf = (version: string) => skip || (version === 'ai7' && tooOld)

for (const version of ['ai6', 'ai7']) {
  const skip = skipOf(version)
  t.test(`${version}: a chat joins, resumes and ends by run`, { skip }, async (t) => {
    const { AbstractChat, DefaultChatTransport, readUIMessageStream } = await load(version)
    t.ok(readUIMessageStream)
    class State {
      status = 'ready'
      error: unknown
      messages: JsonObject[] = []
      pushMessage(message: JsonObject) {
        this.messages = [...this.messages, message]
      }
      popMessage() {
        this.messages = this.messages.slice(0, -1)
      }
      replaceMessage(index: number, message: JsonObject) {
        this.messages = this.messages.with(index, message)
      }
      snapshot = <T>(value: T) => structuredClone(value)
    }
    class Chat extends AbstractChat {
      constructor(url: string, id: string) {
        super({ id, state: new State(), transport: new DefaultChatTransport({ api: `${url}/api/chat` }) })
      }
    }
    const textOf = (chat: Client) =>
      (chat.messages.at(-1)?.parts ?? []).map((part: { text?: string }) => part.text ?? '').join('')
    const toolOf = (chat: Client) =>
      (chat.messages.at(-1)?.parts ?? []).find((part: { type: string }) => part.type === 'tool-ls')

    for (const own of [false, true]) {
      const { hub, url } = await served(t)
      const voice = own ? aiSdkVoice(url, 'c') : catalogVoice(hub, 'c')
      t.test(voice.name, async (t) => {
        const chat = (): Client => new Chat(url, 'c')
        const nothing = chat()
        await nothing.resumeStream()
        t.match(nothing, { status: 'ready', messages: [] }, 'nothing is active: 204')
        await voice.begin()
        await voice.text('Hello ')
        const live = chat()
        const liveDone = live.resumeStream()
        await until('it has the text so far', () => textOf(live) === 'Hello ')
        await voice.text('wor')
        const inText = chat()
        const inTextDone = inText.resumeStream()
        await until('a late joiner has the text so far', () => textOf(inText) === 'Hello wor')
        await voice.text('ld')
        await voice.call('t1', 'ls', { path: '/' })
        const inCall = chat()
        const inCallDone = inCall.resumeStream()
        await until('a late joiner has the open call', () => toolOf(inCall)?.state === 'input-available')
        t.same(toolOf(inCall).input, { path: '/' })
        // A page that is looked at again resumes: the whole message once more, in its place.
        void live.stop()
        await liveDone
        await until('it has gone', () => hub.stats().subscriptions === 2)
        const again = live.resumeStream()
        await until('it is back', () => hub.stats().subscriptions === 3)
        await voice.result('t1', 'ls', ['a.txt'])
        await voice.text('.')
        await voice.end()
        await Promise.all([again, inTextDone, inCallDone])
        for (const one of [live, inText, inCall]) {
          t.match(one, { status: 'ready', error: undefined })
          t.equal(textOf(one), 'Hello world.')
          t.match(toolOf(one), { state: 'output-available', output: ['a.txt'] })
          t.equal(one.messages.length, 1)
        }
        const after = chat()
        await after.resumeStream()
        t.equal(after.messages.length, 0, 'a run that has ended is not active')
        await voice.begin()
        await voice.text('second')
        const second = chat()
        const secondDone = second.resumeStream()
        await until('it has the second run alone', () => textOf(second) === 'second')
        await voice.fail('no key')
        await secondDone
        t.match(second, { status: 'error', error: { message: 'no key' } })
        await voice.begin()
        await voice.text('half')
        const cut = chat()
        const cutDone = cut.resumeStream()
        await until('it has half of it', () => textOf(cut) === 'half')
        await shut(hub, 'c')
        await cutDone
        t.equal(cut.status, 'error', 'half a message is never a whole one')
      })
    }

    t.test('over the transport of the client, it sends, is watched, is cut, and stops', async (t) => {
      const { hub, url } = await served(t)
      const transport = () =>
        new RuncastChatTransport({
          url,
          version: version === 'ai7' ? 7 : 6,
          fetch: (...given) => fetch(...given),
        })
      class Conversation extends AbstractChat {
        constructor() {
          super({ id: 'talk', state: new State(), transport: transport() })
        }
      }
      const asks = () =>
        hub.find('talk') === undefined
          ? []
          : hub.history('sessions/talk').events.filter(({ type }) => type === 'chat.request')
      const first: Client = new Conversation()
      const nobody: Client = new Conversation()
      await nobody.resumeStream()
      t.equal(nobody.status, 'ready', 'nothing is under way')
      const sent = first.sendMessage({ text: 'Hi' })
      await until('the agent is asked', () => asks().length === 1)
      t.match(asks()[0]?.data, {
        messages: [{ role: 'user', parts: [{ text: 'Hi' }] }],
        trigger: 'submit-message',
      })
      const voice = catalogVoice(hub, 'talk')
      await voice.begin()
      await voice.text('Hello ')
      await until('it has the text so far', () => textOf(first) === 'Hello ')
      const second: Client = new Conversation()
      const watched = second.resumeStream()
      await until('another viewer has it too', () => textOf(second) === 'Hello ')
      for (const connection of hub.connections) connection.close('lagging', 'to see them come back')
      await voice.text('world')
      await until(
        'both go on where they were',
        () => textOf(first) === 'Hello world' && textOf(second) === 'Hello world',
      )
      for (const connection of hub.connections) connection.close('lagging', 'once more, at the end')
      await voice.text('.')
      await voice.end()
      await Promise.all([sent, watched])
      for (const one of [first, second]) {
        t.match(one, { status: 'ready', error: undefined })
        t.equal(textOf(one), 'Hello world.')
      }
      t.equal(first.messages.length, 2)
      const again = first.sendMessage({ text: 'More' })
      await until('the agent is asked again', () => asks().length === 2)
      t.equal(textOf(first), 'More', 'nothing of the run before')
      await voice.begin()
      await voice.text('second')
      await until('it has the second run', () => textOf(first) === 'second')
      await first.stop()
      await again
      await until('the agent is told', () =>
        hub.history('sessions/talk').events.some(({ type }) => type === 'command.cancel'),
      )
      const third: Client = new Conversation()
      const lost = third.resumeStream()
      await until('it has it', () => textOf(third) === 'second')
      await shut(hub, 'talk')
      await lost
      t.equal(third.status, 'error', 'half a message is never a whole one')
    })

    t.test('a message that is resumed while a tool is called takes its own place', async (t) => {
      const { hub, url } = await served(t)
      class Conversation extends AbstractChat {
        constructor() {
          super({ id: 'open', state: new State(), transport: new RuncastChatTransport({ url, fetch }) })
        }
      }
      const say = (type: string, data: JsonObject) => void hub.session('open').publish({ type, data })
      say('ai-sdk.start', {})
      say('ai-sdk.tool-input-start', { toolCallId: 't', toolName: 'ls' })
      say('ai-sdk.tool-input-delta', { toolCallId: 't', inputTextDelta: '{"a":' })
      const chat: Client = new Conversation()
      const states = () => (chat.messages.at(-1)?.parts ?? []).map(({ state }: Client) => state)
      const before = chat.resumeStream()
      await until('the call is open', () => states().includes('input-streaming'))
      const again = chat.resumeStream()
      await before
      say('ai-sdk.tool-input-available', { toolCallId: 't', toolName: 'ls', input: { a: 1 } })
      await until('the call is known', () => states().includes('input-available'))
      t.strictSame(states(), ['input-available'])
      say('ai-sdk.finish', {})
      await again
    })

    t.test('a client of version 6 never sees what it does not know', async (t) => {
      const { hub, url } = await served(t)
      const parts = [
        { type: 'start' },
        { type: 'text-start', id: '1' },
        { type: 'steering-message', id: 's', parts: [] },
        { type: 'reset-step' },
        { type: 'text-delta', id: '1', delta: 'fine' },
      ]
      for (const { type, ...data } of parts) hub.session('v').publish({ type: `ai-sdk.${type}`, data })
      const chat: Client = new Chat(url, 'v')
      const done = chat.resumeStream()
      await until('it has the text', () => textOf(chat) === 'fine')
      hub.session('v').publish({ type: 'ai-sdk.finish', data: { finishReason: 'interrupted' } })
      await done
      t.match(chat, { status: 'ready', error: undefined })
    })

    t.test('a chat whose name is no id of the hub', async (t) => {
      const { hub, url } = await served(t)
      await catalogVoice(hub, '~~user~2F1~237').text('hi')
      const chat: Client = new Chat(url, 'user/1#7')
      const done = chat.resumeStream()
      await until('it has the text', () => textOf(chat) === 'hi')
      hub.endSession('~~user~2F1~237')
      await done
      t.equal(chat.status, 'ready')
    })
  })
}

t.test(
  '@ag-ui/client: an agent runs, is joined in mid-run, and never ends with half a message',
  { skip },
  async (t) => {
    const { HttpAgent } = await load('@ag-ui/client')
    for (const own of [false, true]) {
      const { hub, url } = await served(t)
      const voice = own ? agUiVoice(url, 'th') : catalogVoice(hub, 'th')
      t.test(voice.name, async (t) => {
        const join = (path = '/ag-ui/th') => {
          const agent: Client = new HttpAgent({ url: `${url}${path}`, threadId: 'th' })
          const types: string[] = []
          const run = (runId: string) =>
            agent.runAgent(
              { runId },
              { onEvent: ({ event }: { event: { type: string } }) => void types.push(event.type) },
            )
          return { agent, types, run }
        }
        const texts = ({ agent }: { agent: Client }) =>
          agent.messages
            .filter(({ role, content }: Client) => role === 'assistant' && content)
            .map(({ content }: Client) => content)
            .join('|')

        const asking = join('/ag-ui')
        asking.agent.messages = [{ id: 'u1', role: 'user', content: 'Hi' }]
        const asked = asking.run('run-1')
        await until('the agent is asked', () => hub.find('th') !== undefined)
        t.match(hub.history('sessions/th').events, [
          { type: 'chat.request', id: 'ag-ui:run-1', data: { messages: [{ content: 'Hi' }] } },
        ])
        await voice.begin()
        await voice.text('Hello ')
        await until('it has the text so far', () => texts(asking) === 'Hello ')
        hub.session('th').setState('plan', { steps: 1 })
        const inText = join()
        const inTextDone = inText.run('x')
        await until('a late joiner has the text so far', () => texts(inText) === 'Hello ')
        t.strictSame(inText.types.slice(0, 4), [
          'RUN_STARTED',
          'STATE_SNAPSHOT',
          'MESSAGES_SNAPSHOT',
          'TEXT_MESSAGE_START',
        ])
        t.same(inText.agent.state, { plan: { steps: 1 } })
        t.match(inText.agent.messages, [{ id: 'u1', content: 'Hi' }])
        await voice.text('world')
        hub.session('th').setState('plan', { steps: 2, more: true })
        await voice.call('t1', 'ls', { path: '/' })
        const inCall = join()
        const inCallDone = inCall.run('y')
        await until(
          'a late joiner has the open call',
          () => inCall.agent.messages.at(-1)?.toolCalls?.length === 1,
        )
        await voice.result('t1', 'ls', ['a.txt'])
        await voice.text('.')
        if (!own) {
          const worker = hub.session('th').worker('helper')
          worker.publish([
            { type: 'execution_started', data: {} },
            { type: 'client_output_delta', data: { content: 'sub' } },
          ])
          worker.publish({ type: 'execution_completed', data: {} })
        }
        await voice.end()
        await Promise.all([asked, inTextDone, inCallDone])
        for (const one of [asking, inText, inCall]) {
          t.equal(texts(one), own ? 'Hello world|.' : 'Hello world|.|sub')
          t.same(one.agent.state, { plan: { steps: 2, more: true } })
          t.match(
            one.agent.messages.filter(({ role }: Client) => role === 'tool'),
            [{ content: '["a.txt"]' }],
          )
          t.equal(one.types.at(-1), 'RUN_FINISHED')
        }
        t.same(
          asking.agent.messages.map(({ id }: Client) => id),
          inCall.agent.messages.map(({ id }: Client) => id),
          'in the same order',
        )
        const waiting = join()
        const waited = waiting.run('z')
        await until('it waits', () => hub.stats().subscriptions > 0)
        await voice.begin()
        await voice.text('second')
        await until('it has the second run', () => texts(waiting).endsWith('second'))
        t.equal(waiting.types.filter((type) => type === 'RUN_STARTED').length, 1)
        await shut(hub, 'th')
        await waited
        t.equal(waiting.types.at(-1), 'RUN_ERROR', 'half a message is never a whole one')
      })
    }
  },
)

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
