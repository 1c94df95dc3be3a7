import t from 'tap'
import { RuncastChatTransport } from '../../src/chat.js'
import type { JsonObject } from '../../src/lib/json.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { agUiVoice, aiSdkVoice, type Client, catalogVoice, load, shut, skip, skipOf } from './voices.js'

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
