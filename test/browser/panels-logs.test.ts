import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { skip } from '../kit/chromium.js'
import { until } from '../kit/wait.js'
import { open, panelsPage, publish, put } from './panels-page.js'

const deadline = { timeout: 30_000 }
const linesMax = 20_000

t.test('what a panel shows of a long log, and of agents', { skip }, async (t) => {
  const { browser, serve } = await panelsPage(t)
  const folder = mkdtempSync(join(tmpdir(), 'runcast-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const hub = await serve(t, '--store', 'lmdb', '--data', folder)

  t.test('what is redacted disappears from an open page, also where texts were joined', async (t) => {
    const secret = 'correct-horse-battery'
    const texts = ['it is correct-', 'horse-battery', ', they say']
    await publish(
      hub,
      'leaky/workers/w',
      ...texts.map((content) => ({ type: 'llm_text_delta', data: { content } })),
    )
    const { page, complaints } = await open(t, browser, `${hub.url}/s/leaky`)
    const log = page.locator('[data-panel=w] .log')
    await log.getByText(`it is ${secret}, they say`).waitFor(deadline)
    const response = await fetch(`${hub.url}/api/sessions/leaky/redact`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ values: [secret] }),
    })
    t.match(await response.json(), { redacted: 2 })
    await log.getByText('it is [secret:value], they say').waitFor(deadline)
    t.notMatch(await page.locator('body').innerText(), /horse/)
    await publish(hub, 'leaky/workers/w', { type: 'llm_text_delta', data: { content: ' and on' } })
    await log.getByText('and on').waitFor(deadline)
    if (process.env.RUNCAST_SHOT) await page.screenshot({ path: process.env.RUNCAST_SHOT })
    t.strictSame(complaints, [])
  })

  t.test('a log of 20,000 lines opens with the newest, and goes back to the first', async (t) => {
    const yesterday = Date.now() - 86_400_000
    await publish(hub, 'long/workers/w', {
      type: 'step_failed',
      time: yesterday,
      data: { why: 'cold start', is_error: true },
    })
    const lines = Array.from({ length: linesMax }, (_, at) => ({
      type: 'process.output',
      data: { text: `line ${at + 1}${at % 6_000 === 100 ? ' needle' : ''}\n` },
    }))
    await publish(hub, 'long/workers/w', ...lines)
    const { page, complaints } = await open(t, browser, 'about:blank')
    let bytes = 0
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => (bytes += payload.length)))
    await page.goto(`${hub.url}/s/long`)
    const w = page.locator('[data-panel=w]')
    const line = (number: number) => w.locator('.line', { hasText: new RegExp(`^line ${number}( needle)?$`) })
    const log = w.locator('.log')
    await line(linesMax).waitFor(deadline)
    t.ok(bytes < 300_000, `${bytes} bytes`)
    t.match(await w.locator('header').innerText(), /20,001 events/, 'it says how many there are')

    await w.getByRole('button', { name: 'Find' }).click()
    await w.getByRole('searchbox').fill('needle')
    await w.getByRole('search').getByText('4', { exact: true }).waitFor(deadline)
    await page.keyboard.press('Shift+Enter')
    await w.locator('.line.current', { hasText: 'line 18101 needle' }).waitFor(deadline)
    await page.keyboard.press('Shift+Enter')
    await w.locator('.line.current', { hasText: 'line 12101 needle' }).waitFor(deadline)
    await w.getByRole('search').getByText('3 of 4').waitFor(deadline)
    await page.keyboard.press('Escape')
    t.match(await w.locator('.edge').first().innerText(), /Load earlier events · 20,001 in all/)

    await log.press('e')
    await w.locator('.row.error.current', { hasText: 'cold start' }).waitFor(deadline)
    await w.locator('.row.date').first().waitFor(deadline)
    await w.getByRole('button', { name: 'Link' }).click()
    await page.waitForURL(/#o=\d+$/)

    await publish(hub, 'long/workers/w', { type: 'process.output', data: { text: 'live\n' } })
    await w.getByRole('button', { name: 'Newest' }).click()
    await w.locator('.line', { hasText: /^live$/ }).waitFor(deadline)
    await log.press('Home')
    await line(1).waitFor(deadline)
    const drawn = async () =>
      (await w.locator('.line').allInnerTexts()).map((text) => Number(text.split(' ')[1] ?? Number.NaN))
    const wheelUntil = async (by: number, isThere: (lines: readonly number[]) => boolean) => {
      await log.hover()
      await until('it comes', async () => {
        await page.mouse.wheel(0, by)
        const lines = (await drawn()).filter((number) => !Number.isNaN(number))
        const from = lines[0] ?? 0
        if (!lines.every((number, at) => number === from + at)) throw new Error(`a hole: ${lines.join(' ')}`)
        return isThere(lines)
      })
    }
    // Down again, over what is loaded on the way.
    await wheelUntil(700, (lines) => (lines.at(-1) ?? 0) > 1_200)
    await log.press('End')
    await w.locator('.line', { hasText: /^live$/ }).waitFor(deadline)
    await wheelUntil(-700, (lines) => (lines[0] ?? linesMax) < linesMax - 1_500)
    t.strictSame(complaints, [])
  })

  t.test(
    'an address leads to an event and to a filter of one panel, and what is wrong is said',
    async (t) => {
      const { events } = (await (
        await fetch(`${hub.url}/api/sessions/long/workers/w/history?q=line 12101&limit=1000`)
      ).json()) as { readonly events: readonly { readonly offset: number }[] }
      const offset = events[0]?.offset ?? 0
      const { page, complaints } = await open(t, browser, `${hub.url}/s/long#o=${offset}`)
      const w = page.locator('[data-panel=w]')
      await w.locator('.line.current', { hasText: 'line 12101' }).waitFor(deadline)

      const types = page.getByLabel('Types shown in w', { exact: true })
      await types.fill('step_*')
      await types.press('Enter')
      await w.locator('.row', { hasText: 'cold start' }).waitFor(deadline)
      t.match(page.url(), /\/s\/long\?types:w=step_\*#o=/)
      await types.fill('none.such')
      await types.press('Enter')
      await w.locator('.empty', { hasText: 'None of 20,002 events passes' }).waitFor(deadline)
      await types.fill('<oops>')
      await types.press('Enter')
      await w.getByRole('alert').getByText('“<oops>” is not a type').waitFor(deadline)
      t.match(page.url(), /types:w=none.such/, 'what is not valid changes nothing')
      await page.goto(`${hub.url}/s/long?types:w=step_*`)
      await w.locator('.row', { hasText: 'cold start' }).waitFor(deadline)
      t.equal(await w.locator('.line').count(), 0)

      await page.goto(`${hub.url}/s/long#o=999999`)
      await page.getByRole('alert').getByText('Event 999999 is not retained any more.').waitFor(deadline)
      await page.keyboard.press('Control+f')
      await page.getByRole('searchbox', { name: 'Search in w' }).waitFor(deadline)
      t.strictSame(complaints, [])
    },
  )

  t.test('text of agents is Markdown, never markup; calls have what went in and came out', async (t) => {
    const text =
      '# Plan\n\nSee **bold** [docs](https://example.com/a) and [no](javascript:alert(1))\n\n- one\n- two\n\n<img src=x onerror=alert(1)>\n\n```js\nconst a = 1\n```\n'
    const big = Array.from({ length: 200 }, (_, at) => `result line ${at + 1}`).join('\n')
    await publish(
      hub,
      'agent/workers/coder',
      ...text.match(/[\s\S]{1,9}/g)!.map((content) => ({ type: 'llm_text_delta', data: { content } })),
      {
        type: 'tool_call_started',
        data: { tool_use_id: 'c1', tool_name: 'bash', tool_input: { command: 'x'.repeat(30_000) } },
      },
      { type: 'tool_call_completed', data: { tool_use_id: 'c1', tool_name: 'bash', result: big } },
      { type: 'process.output', data: { text: 'see https://example.com/log?a=1, please\n' } },
    )
    const { page, complaints } = await open(t, browser, `${hub.url}/s/agent`)
    const coder = page.locator('[data-panel=coder]')
    const markdown = coder.locator('.markdown')
    await markdown.locator('strong', { hasText: 'bold' }).waitFor(deadline)
    t.strictSame(await markdown.locator('li').allInnerTexts(), ['one', 'two'])
    t.equal(await markdown.locator('img').count(), 0)
    t.ok(await markdown.getByText('<img src=x onerror=alert(1)>').isVisible(), 'HTML is shown as it stands')
    t.strictSame(await markdown.locator('a').allInnerTexts(), ['docs'], 'a link leads only to the web')
    t.equal(
      await coder.locator('.line a:not(.stamp)').getAttribute('href'),
      'https://example.com/log?a=1',
      'addresses in output are links',
    )
    await coder.getByRole('button', { name: /bash/ }).click()
    await coder.getByText('result line 30').waitFor(deadline)
    t.equal(await coder.getByText('result line 31').count(), 0, 'large arguments do not cut the result off')
    await coder.getByRole('button', { name: 'Show all 200 lines' }).click()
    await coder.getByText('result line 200').waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('a large state is drawn where it is open, is searched, and says what changed it', async (t) => {
    const rows = Array.from({ length: 100 }, (_, row) =>
      Array.from({ length: 100 }, (_, at) => row * 100 + at),
    )
    await put(hub, 'grid/state/rows', rows)
    await put(
      hub,
      'grid/state/many',
      Object.fromEntries(
        rows
          .flat(1)
          .slice(0, 450)
          .map((n) => [`n${n}`, n]),
      ),
    )
    const { page, complaints } = await open(t, browser, `${hub.url}/s/grid`)
    const state = page.locator('.state')
    await state.getByText('[100]').nth(100).waitFor(deadline)
    const nodes = await page.evaluate<number>(`document.querySelectorAll('.state *').length`)
    t.ok(nodes < 1_000, `${nodes} elements for 10,450 numbers`)
    await state.getByText('many').click()
    await state.getByRole('button', { name: 'Show 200 of 250 more' }).click()
    await state.getByRole('button', { name: 'Show 50 of 50 more' }).click()
    await state.locator('.leaf', { hasText: 'n449 449' }).waitFor(deadline)
    await state.getByLabel('Search the state').fill('rows.77.3')
    t.equal(await state.locator('.leaf').count(), 11)
    await state.getByLabel('Search the state').fill('')
    await fetch(`${hub.url}/api/sessions/grid/state/plan`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', 'x-cause': '{"type":"planned"}' },
      body: '{"done":1}',
    })
    await state.locator('summary', { hasText: 'by planned' }).waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('the list finds sessions that the hub does not list live, and pages through all', async (t) => {
    const names = Array.from({ length: 1_200 }, (_, at) => `run-${String(at).padStart(4, '0')}`)
    for (let at = 0; at < names.length; at += 50) {
      const some = names.slice(at, at + 50)
      await Promise.all(some.map((name) => publish(hub, name, { type: 'note', data: {} })))
    }
    await put(hub, 'run-0003', { metadata: { title: 'The oldest needle' } })
    const { page, complaints } = await open(t, browser, hub.url)
    const list = page.getByRole('navigation', { name: 'Sessions' })
    // By CSS: looking for a role costs seconds among as many.
    const links = list.locator('a')
    const link = (text: string) => list.locator('a', { hasText: text }).first()
    await link('run-1199').waitFor(deadline)
    t.equal(await links.count(), 200)
    await list.getByRole('button', { name: /^Show more · 1,0\d\d older ones$/ }).click()
    t.match(page.url(), /\?n=400$/)
    await until('more are listed', async () => (await links.count()) === 400)
    await page.goto(`${hub.url}/?n=1400`)
    await link('run-0000').waitFor(deadline)
    t.ok((await links.count()) > 1_200, 'all of them')
    await page.goto(hub.url)
    await link('run-1199').waitFor(deadline)
    await page.keyboard.press('/')
    await page.keyboard.type('oldest needle')
    await link('The oldest needle').waitFor(deadline)
    t.match(page.url(), /q=oldest\+needle/)
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'The oldest needle', level: 1 }).waitFor(deadline)
    await page.getByLabel('Search sessions').fill('run-05')
    await link('run-0599').waitFor(deadline)
    // Fifty began at once, in any order.
    const second = /\/s\/([^?]+)/.exec((await links.nth(1).getAttribute('href')) ?? '')?.[1] ?? ''
    t.match(second, /^run-05\d\d$/)
    await page.getByLabel('Search sessions').press('ArrowDown')
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    await page.keyboard.press('k')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: second, level: 1 }).waitFor(deadline)
    await page.getByLabel('Search sessions').fill('/(/')
    await list.getByText('Invalid regular expression').waitFor(deadline)
    t.strictSame(complaints, [])
  })

  t.test('shows only failures on request, those to come too, and what surrounds one', async (t) => {
    const notes = (from: number) =>
      Array.from({ length: 200 }, (_, at) => ({ type: 'note', data: from + at }))
    const failure = (why: string) => ({ type: 'step_failed', data: { why, is_error: true } })
    await publish(
      hub,
      'mixed/workers/w',
      ...notes(1_000),
      failure('first'),
      ...notes(2_000),
      failure('second'),
    )
    const { page, complaints } = await open(t, browser, `${hub.url}/s/mixed`)
    const w = page.locator('[data-panel=w]')
    const only = w.getByRole('button', { name: 'Only failures' })
    await only.click()
    const isShown = async (count: number) => {
      await w
        .locator('.row.error')
        .nth(count - 1)
        .waitFor(deadline)
      t.equal(await w.locator('.row').count(), count)
    }
    await isShown(2)
    await publish(hub, 'mixed/workers/w', ...notes(3_000), failure('third'))
    await isShown(3)
    t.equal(await only.getAttribute('aria-pressed'), 'true')
    await w.locator('.log').press('e')
    await w.locator('.row.error.current').waitFor(deadline)
    await only.click()
    await w.locator('.row', { hasText: 'note' }).first().waitFor(deadline)
    await w.locator('.row.error.current').waitFor(deadline)
    t.strictSame(complaints, [])
  })
})
