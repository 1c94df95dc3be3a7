import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Page } from 'playwright-core'
import t from 'tap'
import { launch, skip as noBrowser, openWith } from '../kit/chromium.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

/* `useChat` of the AI SDK in a browser, against what the hub tells. */
const here = fileURLToPath(new URL('.', import.meta.url))
const skip = existsSync(`${here}node_modules/@ai-sdk/react3`) ? noBrowser : 'npm ci --prefix test/clients'

/** @returns a script that shows a chat: its status, and the text of its last message */
async function chatPage(version: 3 | 4, transport: string): Promise<string> {
  const contents = `
    import { createRoot } from 'react-dom/client'
    import { Chat as Conversation, useChat } from '@ai-sdk/react${version}'
    import { DefaultChatTransport } from 'ai${version + 3}'
    import { createDurableChatTransport } from '@durable-streams/aisdk-transport'
    import { RuncastChatTransport } from '../../src/chat.ts'
    // Given to useChat itself, version 3 forgets that the transport tells a message from its beginning.
    const chat = new Conversation({ id: 'talk', transport: ${transport} })
    function Chat() {
      const { messages, status } = useChat({ chat, resume: true })
      const text = (messages.at(-1)?.parts ?? []).map((part) => part.text ?? '').join('')
      return <p data-status={status} data-count={messages.length}>{text}</p>
    }
    export const show = () => createRoot(document.body).render(<Chat />)`
  const { outputFiles } = await build({
    stdin: { contents, loader: 'tsx', resolveDir: here },
    jsx: 'automatic',
    bundle: true,
    format: 'iife',
    globalName: 'bundle',
    platform: 'browser',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]?.text ?? ''
}

interface Shown {
  readonly text: string
  readonly status: string
  readonly count: number
}

const shown = (page: Page): Promise<Shown> =>
  page.evaluate<Shown>(`(() => {
    const { textContent = '', dataset = {} } = document.querySelector('p') ?? {}
    return { text: textContent, status: dataset.status ?? '', count: Number(dataset.count ?? 0) }
  })()`)

for (const version of [3, 4] as const) {
  t.test(`@ai-sdk/react ${version}: a page joins, is reloaded, is cut and goes on`, { skip }, async (t) => {
    const { hub, url } = await served(t)
    const browser = await launch(t)
    const session = hub.session('talk')
    const say = (content: string) => session.publish({ type: 'client_output_delta', data: { content } })
    const open = async (transport: string) => {
      const { page } = await openWith(t, browser, { url, script: await chatPage(version, transport) })
      await page.evaluate('bundle.show()')
      return page
    }
    const plain = `new DefaultChatTransport({ api: location.origin + '/api/chat' })`
    const own = `new RuncastChatTransport({ url: location.origin, version: ${version + 3} })`
    session.publish({ type: 'execution_started' })
    say('Hello ')
    const first = await open(plain)
    await until('it has the text so far', async () => (await shown(first)).text === 'Hello ')
    const second = await open(own)
    await until('another page has it', async () => (await shown(second)).text === 'Hello ')
    for (const connection of hub.connections) connection.close('lagging', 'to see them come back')
    say('world')
    await until(
      'the transport of the hub goes on by itself',
      async () => (await shown(second)).text === 'Hello world',
    )
    await until('the other page is told that it was cut', async () => (await shown(first)).status === 'error')
    // As a person who comes back to the page.
    await first.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await until('it goes on as well', async () => (await shown(first)).text === 'Hello world')
    t.equal((await shown(first)).count, 1, 'the message takes its own place')
    await second.reload()
    await second.addScriptTag({ content: await chatPage(version, own) })
    await second.evaluate('bundle.show()')
    await until('it is loaded again', async () => (await shown(second)).text === 'Hello world')
    say('.')
    session.publish({ type: 'execution_completed' })
    for (const page of [first, second]) {
      await until('the run has ended', async () => (await shown(page)).status === 'ready')
      t.same(await shown(page), { text: 'Hello world.', status: 'ready', count: 1 })
    }
  })
}

interface DurableResponse {
  toDurableStreamResponse(options: {
    readonly source: AsyncIterable<unknown>
    readonly stream: { readonly writeUrl: string }
  }): Promise<Response>
}

t.test(
  'an answer that is kept as a durable stream is read by its transport for useChat',
  { skip },
  async (t) => {
    const { hub, url } = await served(t)
    const browser = await launch(t)
    const transport = `createDurableChatTransport({
    api: '/api/chat',
    fetchClient: async () => Response.json({ streamUrl: '/v1/stream/chat/talk' }),
  })`
    const open = async () => {
      const { page } = await openWith(t, browser, { url, script: await chatPage(3, transport) })
      await page.evaluate('bundle.show()')
      return page
    }
    let goOn: (() => void) | undefined
    const turn = () => new Promise<void>((resolve) => void (goOn = resolve))
    const say = (delta: string) => ({ type: 'text-delta', id: '1', delta })
    async function* answer(): AsyncGenerator<unknown> {
      yield* [{ type: 'start', messageId: 'm' }, { type: 'text-start', id: '1' }, say('Hello ')]
      await turn()
      yield say('world')
      await turn()
      yield* [say('.'), { type: 'text-end', id: '1' }, { type: 'finish' }]
    }
    const module = `${here}node_modules/@durable-streams/aisdk-transport/dist/index.js`
    const { toDurableStreamResponse } = (await import(module)) as DurableResponse
    const writeUrl = `${url}/v1/stream/chat/talk`
    const response = await toDurableStreamResponse({ source: answer(), stream: { writeUrl } })
    t.equal(response.headers.get('location'), writeUrl)
    const first = await open()
    await until('it has the text so far', async () => (await shown(first)).text === 'Hello ')
    for (const connection of hub.connections) connection.close('lagging', 'to see them come back')
    goOn?.()
    await until('it goes on where it was', async () => (await shown(first)).text === 'Hello world')
    const second = await open()
    await until('another page has all of it', async () => (await shown(second)).text === 'Hello world')
    goOn?.()
    for (const page of [first, second]) {
      await until('the answer is complete', async () => (await shown(page)).status === 'ready')
      t.same(await shown(page), { text: 'Hello world.', status: 'ready', count: 1 })
    }
  },
)
