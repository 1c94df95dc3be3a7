import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Locator } from 'playwright-core'
import t from 'tap'
import { skip } from '../kit/chromium.js'
import { type Hub, open, panelsPage, publish } from './panels-page.js'

const deadline = { timeout: 30_000 }
/** Events a second. For what a machine with nothing else to do draws: RUNCAST_PANELS_RATE=2000 */
const rate = Number(process.env['RUNCAST_PANELS_RATE'] ?? 1_000)

t.test('the panels page under load', { skip }, async (t) => {
  const { browser, serve } = await panelsPage(t)

  t.test(
    `draws fifty workers that say ${rate} things a second, and does what is asked meanwhile`,
    async (t) => {
      const hub = await serve(t)
      const workers = Array.from({ length: 50 }, (_, at) => `w${String(at).padStart(2, '0')}`)
      await Promise.all(
        workers.map((worker) => publish(hub, `many/workers/${worker}`, { type: 'step', data: {} })),
      )
      const { page, complaints } = await open(t, browser, `${hub.url}/s/many`)
      await page
        .locator('.panel.worker')
        .nth(49)
        .waitFor({ state: 'attached', ...deadline })
      // The session's own panel, which has its state as well, and the workers.
      await followed(hub, 'many', 51)

      const load = new Load(hub, workers)
      const going = load.run(rate)
      const first = page.locator('[data-panel=w00]')
      await reaches(first, 20)
      const types = page.getByLabel('Types shown in w00', { exact: true })
      await types.fill('step')
      await types.press('Enter')
      await first
        .locator('.line')
        .first()
        .waitFor({ state: 'detached', ...deadline })
      await first.locator('.row', { hasText: 'step' }).waitFor(deadline)
      const whenFiltered = load.lines
      // Not for that one line: by the time it is looked for, it may have been scrolled away.
      await reaches(page.locator('[data-panel=w01]'), whenFiltered + 20)
      t.equal(await first.locator('.line').count(), 0, 'a filter holds while events go on')
      await page.getByRole('button', { name: 'Pause all' }).click()
      await page
        .getByRole('button', { name: /^Paused · \d\d+ new$/ })
        .nth(1)
        .waitFor(deadline)
      t.notOk(load.isOver, 'all of it under load')
      await page.getByRole('button', { name: 'Resume all' }).click()
      load.stop()
      await going

      for (const worker of workers.filter((_, at) => at % 7 === 1)) {
        const panel = page.locator(`[data-panel=${worker}]`)
        await panel.scrollIntoViewIfNeeded()
        await panel.locator('.line', { hasText: `line ${load.lines} of ${worker}` }).waitFor(deadline)
        await panel
          .getByText(`${(load.lines + 1).toLocaleString('en')} events`, { exact: true })
          .waitFor(deadline)
      }
      t.equal(await page.locator('.panel.worker').count(), 50)
      t.strictSame(complaints, [])
    },
  )

  t.test('draws what is out of sight as well, once there is time for it', async (t) => {
    const hub = await serve(t)
    const workers = Array.from({ length: 30 }, (_, at) => `w${String(at).padStart(2, '0')}`)
    for (const worker of workers) await publish(hub, `far/workers/${worker}`, { type: 'step', data: {} })
    const { page } = await open(t, browser, `${hub.url}/s/far`)
    await followed(hub, 'far', 31)
    const last = page.locator('.panel.worker').nth(29)
    await last.locator('.row', { hasText: 'step' }).waitFor({ state: 'attached', ...deadline })
    const name = await last.getAttribute('data-panel')
    await publish(hub, `far/workers/${name}`, { type: 'note', data: 'said out of sight' })
    await last.locator('.row', { hasText: 'said out of sight' }).waitFor({ state: 'attached', ...deadline })
    await last.locator('header', { hasText: '2 events' }).waitFor({ state: 'attached', ...deadline })
    t.equal(await page.evaluate('scrollY'), 0, 'nobody went there')
  })

  t.test('scrolls through ten thousand rows, of which only those in sight are drawn', async (t) => {
    const hub = await serve(t)
    const text = (from: number) => Array.from({ length: 1_000 }, (_, at) => `row ${from + at + 1}\n`).join('')
    const chunks = Array.from({ length: 10 }, (_, at) => ({
      type: 'process.output',
      data: { text: text(at * 1_000) },
    }))
    await publish(hub, 'long/workers/w', ...chunks)
    const { page } = await open(t, browser, `${hub.url}/s/long`)
    const panel = page.locator('[data-panel=w]')
    await panel.locator('.line', { hasText: /^row 10000$/ }).waitFor(deadline)
    await panel.locator('.log').focus()
    await page.keyboard.press('Home')
    await panel.locator('.line', { hasText: /^row 1$/ }).waitFor(deadline)
    await panel.locator('.log').hover()
    let most = 0
    for (let seen = 1; seen < 4_900; ) {
      await page.mouse.wheel(0, 10_000)
      const next = panel.locator('.line', { hasText: new RegExp(`^row ${seen + 500}$`) })
      await next.waitFor(deadline)
      const drawn = (await panel.locator('.line').allInnerTexts()).map((line) => Number(line.slice(4)))
      const from = drawn[0] ?? 0
      t.strictSame(
        drawn,
        drawn.map((_, at) => from + at),
        'what is drawn is without a hole',
      )
      most = Math.max(most, drawn.length)
      seen += 500
    }
    t.ok(most < 200, `${most} rows at most`)
    await page.keyboard.press('End')
    await panel.locator('.line', { hasText: /^row 10000$/ }).waitFor(deadline)
  })

  t.test('has each line once and in order after the hub was killed in the midst of them', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'runcast-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    let hub = await serve(t, '--store', 'lmdb', '--data', folder)
    await publish(hub, 'kept/workers/w', { type: 'step', data: {} })
    const { page } = await open(t, browser, 'about:blank')
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: hub.url })
    await page.goto(`${hub.url}/s/kept`)
    await page.evaluate('globalThis.isSamePage = true')
    const panel = page.locator('[data-panel=w]')
    await panel.locator('.row', { hasText: 'step' }).waitFor(deadline)

    let isWriting = true
    let line = 0
    const stored: number[] = []
    const writing = (async () => {
      while (isWriting) {
        line += 1
        const number = line
        // What is not answered may have been delivered and not stored, so that it is not published again.
        await publish(hub, 'kept/workers/w', { type: 'note', data: `line ${number}` }).then(
          () => stored.push(number),
          () => new Promise((resolve) => setTimeout(resolve, 20)),
        )
      }
    })()
    for (let kills = 1; kills <= 2; kills += 1) {
      await reaches(panel, line + 50)
      await hub.kill()
      await page.getByText('Connection lost').waitFor(deadline)
      hub = await hub.again()
      await page.getByText(kills === 1 ? 'resumed once' : `resumed ${kills} times`).waitFor(deadline)
    }
    await reaches(panel, line + 50)
    isWriting = false
    await writing
    await reaches(panel, line)
    await panel.getByRole('button', { name: 'Copy' }).click()
    await panel.getByText('Copied').waitFor(deadline)
    const copied = (await page.evaluate<string>('navigator.clipboard.readText()')).trimEnd().split('\n')
    const lines = copied
      .map((each) => JSON.parse(each) as { readonly type: string; readonly data: string })
      .filter(({ type }) => type === 'note')
      .map(({ data }) => Number(data.slice(5)))
    const acknowledged = new Set(stored)
    t.ok(stored.length > 150)
    t.strictSame(
      lines.filter((number) => acknowledged.has(number)),
      stored,
      'each that was acknowledged',
    )
    t.strictSame(
      lines,
      [...new Set(lines)].toSorted((one, other) => one - other),
      'and none twice',
    )
    t.equal(await page.evaluate('globalThis.isSamePage'), true, 'it was never loaded again')
    t.equal(await page.getByText(/\d gaps?$/).count(), 0)
  })
})

/** Waits until a session has so many subscriptions. */
async function followed(hub: Hub, session: string, wanted: number): Promise<void> {
  for (let now = -1; now !== wanted; ) {
    const answer = await fetch(`${hub.url}/api/sessions/${session}`)
    now = ((await answer.json()) as { readonly subscriptions: number }).subscriptions
  }
}

/** Waits until the newest row that a panel draws has at least this number. */
async function reaches(panel: Locator, number: number): Promise<void> {
  const end = performance.now() + deadline.timeout
  for (;;) {
    const rows = await panel.locator('.row').allInnerTexts()
    const newest = Number(/line (\d+)/.exec(rows.at(-1) ?? '')?.[1] ?? 0)
    if (newest >= number) return
    if (performance.now() > end) throw new Error(`waited in vain for line ${number}: the newest is ${newest}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** It is stopped long before, but for a machine that is busy. */
const runMs = 90_000

/** Numbered lines of many workers, at a pace that does not ask how fast they are read. */
class Load {
  readonly #hub: Hub
  readonly #workers: readonly string[]
  #stopped = false
  isOver = false
  /** How many each worker has said. */
  lines = 0

  constructor(hub: Hub, workers: readonly string[]) {
    this.#hub = hub
    this.#workers = workers
  }

  async run(perSecond: number): Promise<void> {
    const start = performance.now()
    while (!this.#stopped && performance.now() - start < runMs) {
      const due = Math.floor(((performance.now() - start) / 1_000) * (perSecond / this.#workers.length))
      const numbers = Array.from({ length: Math.max(0, due - this.lines) }, (_, at) => this.lines + at + 1)
      if (numbers.length > 0)
        await Promise.all(
          this.#workers.map((worker) =>
            publish(
              this.#hub,
              `many/workers/${worker}`,
              ...numbers.map((number) => ({
                type: 'process.output',
                data: { stream: 'stdout', text: `line ${number} of ${worker}\n` },
              })),
            ),
          ),
        )
      this.lines += numbers.length
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    this.isOver = true
  }

  stop(): void {
    this.#stopped = true
  }
}
