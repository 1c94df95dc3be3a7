// Longer than 350 lines: one browser and one hub for all, because starting them takes longer than most of the tests.

import axe from 'axe-core'
import t from 'tap'
import { skip } from '../kit/chromium.js'
import { Proxy } from '../kit/proxy.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'
import { type Hub, open, panelsPage, publish, put } from './panels-page.js'

const deadline = { timeout: 30_000 }

/** A page that is as late as on a busy machine: it draws nothing again before the hub has answered. */
const busyUntilHeard = `
const { WebSocket: Socket, requestAnimationFrame: frame, setTimeout: later } = window
let held = []
const hold = (run) => (held.push(run), -1)
window.requestAnimationFrame = (run) => (held ? hold(() => frame(run)) : frame(run))
window.setTimeout = (run, ms = 0, ...given) => (held && ms < 100 ? hold(run) : later(run, ms, ...given))
const heard = () => later(() => {
  const due = held ?? []
  held = undefined
  for (const run of due) run()
})
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given)
    for (const name of ['message', 'close']) this.addEventListener(name, heard, { once: true })
  }
}`

/** How many panels came at once, at most. */
const countsPanels = `
window.most = 0
new MutationObserver((records) => {
  const added = records.flatMap(({ addedNodes }) => [...addedNodes])
  window.most = Math.max(window.most, added.filter((node) => node.matches?.('.panel')).length)
}).observe(document, { childList: true, subtree: true })`

t.test('the panels page in Chromium', { skip }, async (t) => {
  process.env['RUNCAST_SECRET'] = secret
  const { commandLine, browser, serve } = await panelsPage(t)

  async function runThree(hub: Hub, session: string): Promise<void> {
    await commandLine.run([
      'run',
      '--hub',
      hub.url,
      '--session',
      session,
      '--keep-open',
      '--worker',
      String.raw`a=printf 'plain\n\033[31mred\033[0m text\n<b>no markup</b><img src=x onerror=alert(1)>\n'`,
      '--worker',
      'b=echo oops >&2; exit 3',
      '--worker',
      'c=seq 1 900',
    ])
  }

  t.test('fills from a real run, and shows what is sent as text', async (t) => {
    const hub = await serve(t)
    const { page, complaints } = await open(t, browser, hub.url)
    await page.getByText('No session yet.').waitFor(deadline)
    await runThree(hub, 'demo')
    await page.getByRole('link', { name: /demo/ }).click()
    const a = page.locator('[data-panel=a]')
    await a.locator('.line', { hasText: '<b>no markup</b><img src=x onerror=alert(1)>' }).waitFor(deadline)
    t.equal(await a.locator('.log b, .log img').count(), 0, 'nothing became an element')
    t.equal(await a.locator('.fg1').innerText(), 'red', 'colours are those of the escape sequences')
    t.equal(await a.locator('.line', { hasText: 'red text' }).innerText(), 'red text', 'which are not shown')
    await page.locator('[data-panel=b] .row.error', { hasText: 'code 3' }).waitFor(deadline)
    await page.locator('[data-panel=b] .line.stderr', { hasText: 'oops' }).waitFor(deadline)
    const c = page.locator('[data-panel=c]')
    await c.locator('.line', { hasText: /^900$/ }).waitFor(deadline)
    t.ok((await c.locator('.row').count()) < 200, 'of many rows only those in sight are drawn')
    await c.locator('.log').focus()
    await page.keyboard.press('Home')
    await c.locator('.line', { hasText: /^1$/ }).waitFor(deadline)
    await c.getByRole('button', { name: 'Newest' }).click()
    await c.locator('.line', { hasText: /^900$/ }).waitFor(deadline)
    const own = page.locator('.panel.session .row.error', { hasText: 'process.exited' })
    t.match(await own.getByRole('button').innerText(), /process.exited\s+b\s/, 'and says whose it is')
    await own.getByRole('button').press('Enter')
    t.match(await own.locator('.details').innerText(), /"code": 3/, 'a row opens by keyboard')
    t.strictSame(complaints, [], 'the content security policy was kept')
  })

  t.test('filters by type and switches modes on the open connection', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    const { page, complaints } = await open(t, browser, `${hub.url}/s/demo?w=a,b&types=process.*`)
    const a = page.locator('[data-panel=a]')
    await a.locator('.line', { hasText: 'plain' }).waitFor(deadline)
    t.equal(await page.locator('[data-panel=c]').count(), 0, 'a link names the workers')
    const types = page.getByLabel('Types shown in a', { exact: true })
    t.equal(await types.inputValue(), 'process.*', 'and the types')
    await types.fill('process.started')
    await types.press('Enter')
    await a
      .locator('.line')
      .first()
      .waitFor({ ...deadline, state: 'detached' })
    t.equal(await a.locator('.row', { hasText: 'process.started' }).count(), 1)
    await types.fill('')
    await types.press('Enter')
    await a.locator('.line', { hasText: 'plain' }).waitFor(deadline)

    await page.getByLabel('Mode of a', { exact: true }).selectOption('control')
    const isShown = async (round: string): Promise<boolean> => {
      await publish(hub, 'demo/workers/a', { type: 'process.output', data: { text: `delta ${round}\n` } })
      await publish(hub, 'demo/workers/a', { type: 'fence', force: true, data: { round } })
      await a.locator('.row', { hasText: `round ${round}` }).waitFor(deadline)
      return (await a.locator('.line', { hasText: `delta ${round}` }).count()) > 0
    }
    t.equal(
      await eventually((round) => isShown(`control-${round}`), false),
      false,
      'control leaves deltas out',
    )
    await page.getByLabel('Mode of a', { exact: true }).selectOption('full')
    t.equal(await eventually((round) => isShown(`full-${round}`), true), true, 'full has them again')

    await page.locator('[data-panel=a]').getByRole('button', { name: 'Pause' }).click()
    await publish(hub, 'demo/workers/a', { type: 'later', data: {} })
    await a.getByRole('button', { name: 'Paused · 1 new' }).click()
    await a.locator('.row', { hasText: 'later' }).waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('is used by keyboard alone', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    await publish(
      hub,
      'other',
      { type: 'tool_call_started', data: { id: 'c1', name: 'grep' } },
      { type: 'note' },
    )
    await put(hub, 'other/state/plan', { steps: [{ name: 'lint' }] })
    const { page } = await open(t, browser, hub.url)
    await page.getByRole('link', { name: /other/ }).waitFor(deadline)
    const press = async (...keys: readonly string[]) => {
      for (const key of keys) await page.keyboard.press(key)
    }
    const focused = () =>
      page.evaluate<string>(`document.activeElement.ariaLabel ?? document.activeElement.textContent`)
    await press('/')
    t.equal(await focused(), 'Search sessions')
    await page.keyboard.type('oth')
    await press('Enter')
    await page.getByRole('heading', { name: 'other', level: 1 }).waitFor(deadline)
    await page.getByRole('button', { name: 'grep' }).waitFor(deadline)
    await press('Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab')
    t.equal(await focused(), 'Skip the list of sessions')
    await press('Enter', 'Tab', 'Tab', 'ArrowDown')
    await page.waitForURL(/mode=summary/)
    await press('Tab', 'Enter')
    await page.getByRole('button', { name: 'Paused · 0 new' }).waitFor(deadline)
    await press('Enter', 'Tab')
    t.equal(await focused(), 'Fork')
    await press('Tab', 'Tab')
    t.equal(await focused(), 'Types shown in other')
    await page.keyboard.type('tool_*')
    await publish(hub, 'other', { type: 'later' })
    await page.getByRole('button', { name: 'later' }).waitFor(deadline)
    t.equal(
      await page.getByRole('button', { name: 'note' }).count(),
      1,
      'a filter that is being typed is none yet',
    )
    await press('Enter', ...Array.from({ length: 9 }, () => 'Tab'))
    t.equal(await focused(), 'Events of other')
    await page.getByRole('button', { name: 'note' }).waitFor({ ...deadline, state: 'detached' })
    await press('Tab', 'Enter')
    await page.locator('.details', { hasText: '"name": "grep"' }).waitFor(deadline)
    await press('Tab', 'Tab', 'Tab', 'Tab')
    t.equal(await focused(), 'State of the session')
    await press('Tab', 'Enter')
    t.equal(await page.getByText('steps').isVisible(), false, 'a slice is folded')
    await page.goBack()
    await page.getByRole('heading', { name: 'What runs, as it runs' }).waitFor(deadline)
  })

  t.test('says what failed and what is asked, and takes the answer', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    await put(hub, 'demo', { metadata: { title: 'Release 4.2', labels: { branch: 'main' } } })
    await publish(hub, 'demo/workers/asker', {
      type: 'client_input_requested',
      data: { request_id: 'r1', prompt: 'Which version?' },
    })
    const { page, complaints } = await open(t, browser, hub.url)
    await until('the tab is called so', async () => (await page.title()) === '? 1 need you · Runcast')
    const link = page.getByRole('link', { name: /Release 4.2/ })
    t.match(await link.innerText(), /1 question.*1 failed/s, 'the list says both')
    await link.click()
    await page.getByRole('heading', { name: 'Release 4.2', level: 1 }).waitFor(deadline)
    await until('the tab is called so', async () => (await page.title()) === '? demo · Runcast')
    const overview = page.getByRole('list', { name: 'Workers on one time axis' })
    const rows = (await overview.getByRole('listitem').allInnerTexts()).map((text) =>
      text.split('\n').slice(0, 3),
    )
    t.strictSame(
      rows.map((row) => row.find((text) => /^(asker|a|b|c)$/.test(text))),
      ['asker', 'b', 'a', 'c'],
      'those that ask and that failed come first',
    )
    t.match(await overview.getByRole('listitem').nth(1).innerText(), /exit 3/)
    const b = page.locator('[data-panel=b]')
    t.match(await b.locator('header').innerText(), /failed\s+exit 3/)
    await b.locator('.log').press('e')
    await b.locator('.row.error.current').waitFor(deadline)

    await page.getByLabel('Answer to asker').fill('4.2.0')
    await page.getByLabel('Answer to asker').press('Enter')
    await page.getByText('1 question needs you').waitFor({ ...deadline, state: 'detached' })
    await page.locator('[data-panel=asker] .row', { hasText: '4.2.0' }).waitFor(deadline)
    await until('the tab is called so', async () => (await page.title()) === 'demo · Runcast')

    await overview.getByRole('button', { name: 'Hide c' }).click()
    await page.locator('[data-panel=c]').waitFor({ ...deadline, state: 'detached' })
    t.match(page.url(), /w=!c/)
    await publish(hub, 'demo/workers/late', { type: 'note' })
    await page.locator('[data-panel=late]').waitFor(deadline)
    await overview.getByRole('button', { name: 'Only b' }).click()
    t.equal(await page.locator('[data-panel].worker').count(), 1)
    t.strictSame(complaints, [])
  })

  t.test('steers what runs, and shows what became of it', async (t) => {
    const hub = await serve(t)
    const words = [
      'run',
      '--hub',
      hub.url,
      '--session',
      'demo',
      '--worker',
      'long=sleep 600',
      '--worker',
      'b=true',
    ]
    const running = commandLine.start(words)
    t.teardown(() => running.process.kill('SIGKILL'))
    const { page, complaints } = await open(t, browser, `${hub.url}/s/demo?w=long`)
    const commands = page.getByRole('group', { name: 'Commands to long' })
    await commands.getByRole('button', { name: 'Halt' }).click()
    await commands.getByText('pause: applied').waitFor(deadline)
    await commands.getByRole('button', { name: 'Go on' }).click()
    await commands.getByText('resume: applied').waitFor(deadline)
    await commands.getByRole('button', { name: 'Stop' }).click()
    await page.locator('[data-panel=long] header', { hasText: 'cancelled' }).waitFor(deadline)
    await commands.getByText('cancel: applied').waitFor(deadline)
    t.equal(await commands.getByRole('button').count(), 0, 'what has ended takes no commands')
    t.strictSame(complaints, [])
  })

  t.test('is searched: a panel for a text, the list for a label', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    await put(hub, 'other', { metadata: { labels: ['nightly'] } })
    await publish(hub, 'other', { type: 'note' })
    const { page, complaints } = await open(t, browser, `${hub.url}/s/demo?w=c&q=night`)
    await page.getByRole('link', { name: /other/ }).waitFor(deadline)
    t.equal(
      await page.getByRole('link', { name: /demo/ }).count(),
      0,
      'the address says what the list is searched for',
    )
    const c = page.locator('[data-panel=c]')
    await c.locator('.line', { hasText: /^900$/ }).waitFor(deadline)
    await c.locator('.log').press('/')
    await c.getByRole('searchbox').fill('/^7[0-9]$/m')
    await c.getByRole('search').getByText('10', { exact: true }).waitFor(deadline)
    await page.keyboard.press('Enter')
    await c.locator('.line.current', { hasText: /^70$/ }).waitFor(deadline)
    await page.keyboard.press('Shift+Enter')
    await c.locator('.line.current', { hasText: /^79$/ }).waitFor(deadline)
    t.match(await c.getByRole('status').last().innerText(), /10 of 10/)
    await page.keyboard.press('Escape')
    t.equal(await c.getByRole('search').count(), 0)
    t.strictSame(complaints, [])
  })

  t.test('forks a session, and says where a fork is from', async (t) => {
    const hub = await serve(t)
    await publish(hub, 'talk', { type: 'client_output_delta', data: { content: 'Once upon' } })
    await publish(hub, 'talk/workers/w', { type: 'process.output', data: { text: 'the past' } })
    const { page, complaints } = await open(t, browser, `${hub.url}/s/talk`)
    await page.getByText('Once upon').waitFor(deadline)
    await page.getByRole('button', { name: 'Fork' }).click()
    await page.waitForURL((url) => !url.pathname.endsWith('/s/talk'), deadline)
    const fork = new URL(page.url()).pathname.slice('/s/'.length)
    await page.locator('[data-panel=w]').getByText('the past').waitFor(deadline)
    await publish(hub, fork, { type: 'client_output_delta', data: { content: ', or never' } })
    await page.getByText('Once upon, or never').waitFor(deadline)
    await page.getByText('Metadata and outcome').click()
    await page.locator('.metadata').getByText('"session": "talk"').waitFor(deadline)
    await page.goBack()
    await page.getByText('Once upon', { exact: true }).waitFor(deadline)
    t.equal(await page.getByText('or never').count(), 0, 'the session itself stays as it is')
    t.strictSame(complaints, [])
  })

  t.test('gets from history what a wider filter or mode lets through', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    const { page } = await open(t, browser, `${hub.url}/s/demo?w=a&types=process.exited&mode=control`)
    const a = page.locator('[data-panel=a]')
    await a.locator('.empty', { hasText: /None of \d+ events passes/ }).waitFor(deadline)
    await page.getByLabel('Mode of a', { exact: true }).selectOption('full')
    await a.locator('.row', { hasText: 'process.exited' }).waitFor(deadline)
    const types = page.getByLabel('Types shown in a', { exact: true })
    await types.fill('')
    await types.press('Enter')
    await a.locator('.line', { hasText: 'plain' }).waitFor(deadline)
    t.equal(await a.locator('.row', { hasText: 'process.exited' }).count(), 1, 'nothing comes twice')
    await page.getByLabel('Mode of a', { exact: true }).selectOption('summary')
    await publish(hub, 'demo/workers/a', { type: 'note', data: 'after' })
    await page.getByLabel('Mode of a', { exact: true }).selectOption('full')
    await a.locator('.line', { hasText: 'plain' }).waitFor(deadline)
    t.equal(await a.locator('.row', { hasText: 'after' }).count(), 1)
  })

  t.test('shows tool calls, a state that changes and what is copied, also over SSE', async (t) => {
    const hub = await serve(t)
    const { page } = await open(t, browser, 'about:blank')
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: hub.url })
    await page.routeWebSocket(/api.ws/, (socket) => socket.close())
    await page.goto(`${hub.url}/s/demo`)
    await page.getByText('Connected · SSE').waitFor(deadline)
    const tool = { tool_use_id: 'c1', tool_name: 'grep' }
    await publish(hub, 'demo', { type: 'tool_call_started', data: { ...tool, tool_input: { pattern: 'x' } } })
    const row = page.locator('.panel.session .row.tool')
    await row.filter({ hasText: 'running' }).waitFor(deadline)
    await publish(hub, 'demo', { type: 'tool_call_completed', data: { ...tool, result: '<i>3</i>' } })
    await row.filter({ hasText: 'done' }).waitFor(deadline)
    await row.getByRole('button').click()
    await row.locator('.details', { hasText: '<i>3</i>' }).waitFor(deadline)
    await put(hub, 'demo/state/plan', { done: 0, of: 3 })
    await page.locator('.state .leaf', { hasText: 'done 0' }).waitFor(deadline)
    await put(hub, 'demo/state/plan', { done: 1, of: 3 })
    await page.locator('.state .leaf.flash-odd', { hasText: 'done 1' }).waitFor(deadline)
    t.equal(await page.locator('.state .leaf.flash-odd').count(), 1, 'only what changed flashes')
    await page.locator('.panel.session').getByRole('button', { name: 'Copy' }).click()
    await page.getByText('Copied').waitFor(deadline)
    const lines = (await page.evaluate<string>('navigator.clipboard.readText()')).trimEnd().split('\n')
    const types = lines.map((line) => (JSON.parse(line) as { type: string }).type)
    t.strictSame(types, ['tool_call_started', 'tool_call_completed'])
  })

  t.test('goes on after the hub was killed and started again', async (t) => {
    const first = await serve(t)
    await runThree(first, 'demo')
    const { page } = await open(t, browser, `${first.url}/s/demo`)
    await page.locator('[data-panel=a] .line', { hasText: 'plain' }).waitFor(deadline)
    await first.kill()
    await page.getByText('Connection lost').waitFor(deadline)
    const second = await first.again()
    await page.getByText('Connected').waitFor(deadline)
    await page.getByText('resumed').waitFor(deadline)
    await publish(second, 'demo/workers/a', { type: 'process.output', data: { text: 'back again\n' } })
    await page.locator('[data-panel=a] .line', { hasText: 'back again' }).waitFor(deadline)
    t.equal(
      await page.locator('[data-panel=a] .line', { hasText: 'plain' }).count(),
      1,
      'what was seen stays',
    )
  })

  t.test('says that links are cut before all has come, until one brings it', async (t) => {
    const hub = await serve(t)
    for (let n = 0; n < 100; n++) await publish(hub, `demo-${n}`, { type: 'note', data: n })
    const proxy = await Proxy.open(Number(new URL(hub.url).port))
    t.teardown(() => proxy.close())
    const { page } = await open(t, browser, `http://127.0.0.1:${proxy.port}`)
    await page.getByText('Connected').waitFor(deadline)
    // No link opens while the list grows; then a link carries what opens it, and less than what is new.
    proxy.faults = { cutAfterBytes: 1 }
    proxy.cut()
    for (let n = 0; n < 100; n++) await publish(hub, `late-${n}`, { type: 'note', data: n })
    proxy.faults = { cutAfterBytes: 2_000 }
    await page.getByText(/cut before everything has come, [2-9] times in a row/).waitFor(deadline)
    proxy.faults = {}
    await page.getByText('cut before everything has come').waitFor({ ...deadline, state: 'detached' })
    await page.getByText('Connected').waitFor(deadline)
  })

  t.test('asks for a token where the hub does, and shows what the token allows', async (t) => {
    const hub = await serve(t, '--token-secret-env', 'RUNCAST_SECRET')
    const token = await mint({ subscribe: ['sessions/demo/**'], publish: ['sessions/**'] })
    const write = (session: string) =>
      fetch(`${hub.url}/api/sessions/${session}/workers/w/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
        body: '{"type":"process.output","data":{"stream":"stdout","text":"for those who may\\n"}}',
      })
    for (const session of ['demo', 'other']) t.equal((await write(session)).status, 200)

    const { page, complaints } = await open(t, browser, hub.url)
    await page.getByText('This hub asks for a token').waitFor(deadline)
    t.equal(await page.getByRole('alert').count(), 0)
    t.equal(await page.getByText('No session yet.').count(), 0)
    await page.getByLabel('Token').fill('a.b.c')
    await page.getByRole('button', { name: 'Connect' }).click()
    await page.getByRole('alert').getByText('The token is no JWT').waitFor(deadline)
    await page.getByLabel('Token').fill('a“b.c.d')
    await page.getByRole('button', { name: 'Connect' }).click()
    await page
      .getByRole('alert')
      .getByText('The token is no JWT')
      .waitFor({ ...deadline, state: 'detached' })
    await page.getByRole('alert').waitFor(deadline)
    await page.getByLabel('Token').fill(`“${token}”`)
    await page.getByRole('button', { name: 'Connect' }).click()
    await page.getByRole('link', { name: /demo/ }).click()
    await page.locator('[data-panel=w] .line', { hasText: 'for those who may' }).waitFor(deadline)
    t.equal(await page.getByRole('link', { name: /other/ }).count(), 0)
    await page.reload()
    await page.locator('[data-panel=w] .line', { hasText: 'for those who may' }).waitFor(deadline)

    const given = await open(t, browser, `${hub.url}/s/demo?token=${token}`)
    await given.page.locator('[data-panel=w] .line').waitFor(deadline)
    t.notMatch(given.page.url(), 'token', 'it does not stay in the address')
    const linked = await open(t, browser, `${hub.url}/s/demo?types=process.*#token=${token}`)
    await linked.page.locator('[data-panel=w] .line').waitFor(deadline)
    t.equal(linked.page.url(), `${hub.url}/s/demo?types=process.*`, 'nor after the #')
    await linked.page.evaluate(`location.hash = 'token=a.b.c'`)
    await linked.page.getByRole('alert').getByText('The token is no JWT').waitFor(deadline)
    t.equal(linked.page.url(), `${hub.url}/s/demo?types=process.*`, 'also when the page is open already')
    t.same([...complaints, ...given.complaints], [])
  })

  t.test('shows each of five tabs over SSE, and a wrong address as a page', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    const context = await browser.newContext()
    t.teardown(() => context.close())
    await context.routeWebSocket(/api.ws/, (socket) => socket.close())
    for (let tab = 1; tab <= 5; tab += 1) {
      const page = await context.newPage()
      await page.goto(`${hub.url}/s/demo`)
      await page.locator('[data-panel=a] .line', { hasText: 'plain' }).waitFor(deadline)
      await page.locator('[data-panel=b] .line', { hasText: 'oops' }).waitFor(deadline)
    }
    const page = await context.newPage()
    await page.goto(`${hub.url}/no<b>where`)
    await page.getByRole('heading', { name: 'There is no such thing' }).waitFor(deadline)
    await page.goto(`${hub.url}/s/bad name`)
    await page.getByRole('heading', { level: 1 }).waitFor(deadline)
  })

  t.test('shows six hundred workers, those that failed first', async (t) => {
    const hub = await serve(t)
    const names = Array.from({ length: 600 }, (_, at) => `w${String(at).padStart(3, '0')}`)
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(
        names.slice(at, at + 50).map((name) =>
          publish(hub, `crowd/workers/${name}`, {
            type: 'process.exited',
            data: { code: name === 'w517' ? 9 : 0 },
          }),
        ),
      )
    }
    const { page, complaints } = await open(t, browser, 'about:blank')
    await page.addInitScript({ content: countsPanels })
    await page.goto(`${hub.url}/s/crowd`)
    const overview = page.getByRole('list', { name: 'Workers on one time axis' })
    await page.getByRole('heading', { name: '600 workers' }).waitFor(deadline)
    t.match(await overview.getByRole('listitem').first().innerText(), /w517/)
    await overview.getByRole('listitem').nth(100).waitFor(deadline)
    t.equal(await overview.getByRole('listitem').count(), 101)
    await page
      .locator('.panel.worker')
      .nth(59)
      .waitFor({ state: 'attached', ...deadline })
    t.equal(await page.locator('.panel.worker').count(), 60)
    const most = await page.evaluate<number>('window.most')
    t.ok(most < 20, `a few panels at a time, not sixty: ${most}`)
    await page.getByLabel('Search workers').fill('w599')
    await overview
      .getByRole('button', { name: /^w599|w599/ })
      .first()
      .click()
    await page.locator('[data-panel=w599] .row', { hasText: 'process.exited' }).waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('shows the hub to those who run it, and closes a connection', async (t) => {
    const hub = await serve(t)
    await publish(hub, 'demo', { type: 'note', data: 1 })
    const other = await open(t, browser, `${hub.url}/s/demo`)
    await other.page.locator('.row', { hasText: 'note' }).waitFor(deadline)
    const { page, complaints } = await open(t, browser, hub.url)
    await page.getByRole('link', { name: 'Hub', exact: true }).click()
    await page.getByRole('heading', { name: '2 connections' }).waitFor(deadline)
    t.match(page.url(), /\?view=hub$/)
    await page.getByText('memory, in order').waitFor(deadline)
    const row = page.getByRole('row').filter({ hasText: 'sessions/demo' })
    t.match(await row.innerText(), /127\.0\.0\.1.*websocket msgpack/s)
    await row.getByRole('button', { name: 'Close 127.0.0.1' }).click()
    await row.getByRole('button', { name: 'Close it now' }).click()
    await page.getByRole('heading', { name: '1 connection', exact: true }).waitFor(deadline)
    await other.page.getByText('Closed · closed by an operator').waitFor(deadline)
    await page.getByText('Limits in effect').click()
    await page.getByText('connectionsMax').waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('says how the connection is doing though it opened before the page could look', async (t) => {
    const openLate = async (url: string) => {
      const page = await browser.newPage()
      t.teardown(() => page.close())
      await page.addInitScript({ content: busyUntilHeard })
      await page.goto(url)
      return page
    }
    const page = await openLate((await serve(t)).url)
    await page.getByText('Connected · WebSocket').waitFor(deadline)
    t.equal(await page.getByText('resumed').count(), 0)
    const locked = await openLate((await serve(t, '--token-secret-env', 'RUNCAST_SECRET')).url)
    await locked.getByText('This hub asks for a token').waitFor(deadline)
  })

  t.test('has no fault that axe finds, in light, dark and narrow', async (t) => {
    const hub = await serve(t)
    await runThree(hub, 'demo')
    await put(hub, 'demo/state/plan', { steps: ['lint', 'test'], done: false })
    for (const [colorScheme, width] of [
      ['light', 1400],
      ['dark', 320],
    ] as const) {
      const { page, complaints } = await open(t, browser, `${hub.url}/s/demo`, colorScheme)
      // High enough for all panels: what is out of sight is not drawn.
      await page.setViewportSize({ width, height: width < 1000 ? 4_000 : 1_400 })
      t.equal(
        await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
        true,
        'fits the width',
      )
      await page.locator('[data-panel=a] .line', { hasText: 'plain' }).waitFor(deadline)
      await page.locator('[data-panel=b] .row.error').waitFor(deadline)
      await page.locator('.state .leaf', { hasText: 'done' }).waitFor(deadline)
      // From outside the page, which itself must not run what is not the hub's.
      await page.evaluate(axe.source)
      const found = await page.evaluate<Finding[]>('axe.run(document).then(({ violations }) => violations)')
      const said = found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
      t.strictSame(said, [], `${colorScheme}, ${width}`)
      t.strictSame(complaints, [])
    }
  })
})

interface Finding {
  readonly id: string
  readonly nodes: readonly { readonly html: string }[]
}

/** Asks again, with another number, until the answer is the wanted one; the last answer after fifty rounds. */
async function eventually(
  ask: (round: number) => Promise<boolean>,
  wanted: boolean,
): Promise<boolean | undefined> {
  let answer: boolean | undefined
  for (let round = 1; round <= 50 && answer !== wanted; round += 1) answer = await ask(round)
  return answer
}
