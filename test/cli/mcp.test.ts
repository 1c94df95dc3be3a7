import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import t, { type Test } from 'tap'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { typescript } from '../kit/typescript.js'
import { until } from '../kit/wait.js'

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

interface Called {
  readonly isError: boolean
  /** What the model is shown: JSON, or the text of an error. */
  readonly shown: unknown
}

/** `runcast mcp`, as a coding agent starts it. */
async function agentOf(t: Test, url: string, token?: string) {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...typescript, main, 'mcp', '--hub', url],
    env: { ...(process.env as Record<string, string>), ...(token !== undefined && { RUNCAST_TOKEN: token }) },
    stderr: 'pipe',
  })
  const agent = new Client({ name: 'test', version: '1' })
  await agent.connect(transport)
  t.teardown(() => agent.close())
  return {
    agent,
    async call(name: string, args: Readonly<Record<string, unknown>> = {}): Promise<Called> {
      const { content, isError } = await agent.callTool({ name, arguments: args })
      const [first] = content as readonly { readonly text: string }[]
      const text = first?.text ?? ''
      return { isError: isError === true, shown: isError ? text : JSON.parse(text) }
    },
  }
}

t.test('a coding agent', async (t) => {
  const { hub, url } = await served(t)
  const { agent, call } = await agentOf(t, url)

  t.test('is told the tools, and which of them only read', async (t) => {
    const { tools } = await agent.listTools()
    t.same(
      tools.map(({ name, annotations }) => `${name} ${annotations?.readOnlyHint ? 'reads' : 'acts'}`),
      [
        'list_sessions reads',
        'read_events reads',
        'read_state reads',
        'wait_for_result reads',
        'answer_need acts',
        'send_command acts',
      ],
    )
    t.match(agent.getInstructions(), /list_sessions/)
  })

  t.test('finds what failed, and reads why', async (t) => {
    hub.createSession('build', { metadata: { title: 'Nightly' } })
    hub
      .session('build')
      .worker('lint')
      .publish([
        ...Array.from({ length: 7 }, (_, n) => ({ type: 'process.output', data: { text: `line ${n}` } })),
        { type: 'error', data: { message: 'out of disk' } },
      ])
    hub.session('fine').publish({ type: 'note' })
    hub.endSession('build', undefined, { result: 'failed', reason: 'exit 1' })
    const { shown } = await call('list_sessions', { result: 'failed' })
    t.match(shown, { sessions: [{ id: 'build', title: 'Nightly', result: 'failed', reason: 'exit 1' }] })
    t.match(await call('read_events', { session: 'build', errors: true }), {
      shown: { events: [{ worker: 'lint', type: 'error', data: { message: 'out of disk' } }] },
    })
    const read = async (from?: string) => {
      const args = { session: 'build', worker: 'lint', types: ['process.*'], order: 'asc', limit: 3, from }
      return (await call('read_events', args)).shown as {
        events: { type: string; data: unknown }[]
        next?: string
      }
    }
    const pages = [await read()]
    while (pages.at(-1)?.next !== undefined) pages.push(await read(pages.at(-1)?.next))
    t.same(
      pages
        .flatMap(({ events }) => events)
        .filter(({ type }) => type === 'process.output')
        .map(({ data }) => (data as { readonly text: string }).text),
      Array.from({ length: 7 }, (_, n) => `line ${n}`),
    )
    t.match(await call('read_events', { session: 'build', search: '/LINE 4/i' }), {
      shown: { events: [{ data: { text: 'line 4' } }] },
    })
    t.match(await call('read_events', { session: '../other' }), { isError: true })
    t.match(await call('read_events', { session: 'none' }), { isError: true, shown: /none/ })
    t.match(await call('read_events', { session: 'build', typo: 1 }), { isError: true })
  })

  t.test('waits for a question, answers it, and for the result', async (t) => {
    const asking = hub.session('ship')
    asking.setState('plan', { step: 1 })
    t.same((await call('read_state', { session: 'ship', slices: ['plan'] })).shown, { plan: { step: 1 } })
    const waits = call('wait_for_result', { session: 'ship', worker: 'release', seconds: 60 })
    await until('it waits', () => hub.stats().subscriptions > 0)
    const release = asking.worker('release')
    release.publish({ type: 'client_input_requested', data: { request_id: 'r1', prompt: 'Publish it?' } })
    t.match((await waits).shown, { needs: [{ key: 'r1', text: 'Publish it?' }] })
    const commands = release.commands()
    const answers = call('answer_need', { session: 'ship', worker: 'release', key: 'r1', answer: 'yes' })
    const { value: command } = await commands.next()
    t.match(command, { name: 'input', data: { text: 'yes', key: 'r1' } })
    command?.applied()
    t.same((await answers).shown, { state: 'applied' })
    const stops = call('send_command', {
      session: 'ship',
      worker: 'release',
      command: 'cancel',
      reason: 'late',
    })
    const { value: cancel } = await commands.next()
    cancel?.refused('nearly done')
    t.same((await stops).shown, { state: 'refused', reason: 'nearly done' })
    t.match((await call('wait_for_result', { session: 'ship', seconds: 1 })).shown, {
      waiting: true,
      status: 'running',
    })
    hub.endSession('ship', { version: 2 }, { result: 'succeeded' })
    t.match((await call('wait_for_result', { session: 'ship' })).shown, {
      result: 'succeeded',
      outcome: { version: 2 },
    })
  })
})

t.test('it has the rights of its token, and no others', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  hub.session('mine').publish({ type: 'note' })
  hub.session('theirs').publish({ type: 'note', data: 'secret' })
  const { call } = await agentOf(t, url, await mint({ sub: 'a', subscribe: ['sessions/mine/**'] }))
  t.match((await call('list_sessions')).shown, { sessions: [{ id: 'mine' }] })
  t.match(await call('read_events', { session: 'theirs' }), { isError: true })
  t.match(await call('read_state', { session: 'theirs' }), { isError: true })
  t.match(await call('wait_for_result', { session: 'theirs' }), { isError: true })
  t.match(await call('send_command', { session: 'mine', command: 'cancel' }), {
    isError: true,
    shown: /permit/,
  })
})

t.test('it answers what it has read before its input ended, and ends', async (t) => {
  const { hub, url } = await served(t)
  hub.session('one').publish({ type: 'note' })
  const child = spawn(process.execPath, [...typescript, main, 'mcp', '--hub', url], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => void child.kill('SIGKILL'))
  const initialize = {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  }
  const messages = [
    { id: 1, method: 'initialize', params: initialize },
    { method: 'notifications/initialized' },
    { id: 2, method: 'tools/call', params: { name: 'list_sessions', arguments: {} } },
    { id: 3, method: 'no/such/method' },
  ]
  const lines = messages.map((message) => `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  child.stdin.end(lines.join(''))
  const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'close')])
  const answers = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly id: number })
    .toSorted((a, b) => a.id - b.id)
  t.match(answers, [
    { id: 1, result: { serverInfo: { name: 'runcast' } } },
    { id: 2, result: { content: [{ text: /"one"/ }] } },
    { id: 3, error: { code: -32_601 } },
  ])
  t.equal(answers.length, 3)
  t.equal(status, 0)
})
