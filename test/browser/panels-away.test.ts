import { readFileSync } from 'node:fs'
import t from 'tap'
import { skip } from '../kit/chromium.js'
import { until } from '../kit/wait.js'
import { open, panelsPage, publish } from './panels-page.js'

const deadline = { timeout: 20_000 }

/** A browser that lets itself be asked what it has told, copied, and whether the page is in sight. */
const watched = `
window.told = []
window.Notification = class {
  static permission = 'granted'
  static requestPermission = async () => 'granted'
  constructor(_title, { body }) { window.told.push(body) }
}
Object.defineProperty(document, 'visibilityState', { get: () => (window.isAway ? 'hidden' : 'visible') })
// As over plain HTTP.
Object.defineProperty(navigator, 'clipboard', { value: undefined })
document.addEventListener('copy', () => { window.copied = document.activeElement.value })`

t.test('the panels page that nobody looks at, and what is taken from it', { skip }, async (t) => {
  const { browser, serve } = await panelsPage(t)

  t.test('tells of a failure while it is out of sight, by a notice, title and icon', async (t) => {
    const hub = await serve(t)
    await publish(hub, 'first', { type: 'note', data: 1 })
    const { page, complaints } = await open(t, browser, 'about:blank')
    await page.addInitScript({ content: watched })
    await page.goto(hub.url)
    await page.getByRole('link', { name: /first/ }).waitFor(deadline)
    const notify = page.getByRole('button', { name: 'Notify me' })
    await notify.click()
    await until('it is on', async () => (await notify.getAttribute('aria-pressed')) === 'true')
    const icon = () => page.locator('link[rel=icon]').getAttribute('href')
    t.notMatch(await icon(), /b42318/)
    await page.evaluate('window.isAway = true')
    await publish(hub, 'second', { type: 'execution_failed', data: { error: 'no' } })
    await until('it tells', async () => (await page.evaluate<string[]>('window.told')).length > 0)
    t.strictSame(await page.evaluate('window.told'), ['A session has failed'])
    t.equal(await page.title(), '✕ 1 failed · Runcast')
    t.match(await icon(), /b42318/, 'the icon is red')
    await page.evaluate('window.isAway = false')
    await publish(hub, 'third', { type: 'execution_failed', data: { error: 'no' } })
    await until('it is seen', async () => (await page.title()) === '✕ 2 failed · Runcast')
    t.equal((await page.evaluate<string[]>('window.told')).length, 1, 'who looks is not told')
    t.strictSame(complaints, [])
  })

  t.test('gives its events as a file, and as a copy where there is no clipboard', async (t) => {
    const hub = await serve(t)
    await publish(hub, 'demo/workers/w', { type: 'note', data: { n: 1 } }, { type: 'note', data: { n: 2 } })
    const { page } = await open(t, browser, 'about:blank')
    await page.addInitScript({ content: watched })
    await page.goto(`${hub.url}/s/demo`)
    const panel = page.locator('[data-panel=w]')
    await panel.locator('.row', { hasText: 'n 2' }).waitFor(deadline)
    const began = page.waitForEvent('download')
    await panel.getByRole('button', { name: 'Download' }).click()
    const file = await began
    t.equal(file.suggestedFilename(), 'w.ndjson')
    const numbersOf = (text: string) =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { readonly data: { readonly n: number } }).data.n)
    t.strictSame(numbersOf(readFileSync(await file.path(), 'utf8')), [1, 2])
    const copy = panel.getByRole('button', { name: 'Copy' })
    await copy.click()
    await panel.getByText('Copied').waitFor(deadline)
    t.strictSame(numbersOf(await page.evaluate<string>('window.copied')), [1, 2])
    await copy.click({ modifiers: ['Shift'] })
    await until('the text is copied', async () =>
      (await page.evaluate<string>('window.copied')).startsWith('note n 1\nnote n 2'),
    )
  })

  t.test('counts no time while the hub is away', async (t) => {
    const hub = await serve(t)
    await publish(hub, 'demo/workers/w', { type: 'note', data: 1 })
    const { page } = await open(t, browser, 'about:blank')
    await page.clock.install()
    await page.goto(`${hub.url}/s/demo`)
    const figures = page.locator('[data-panel=w] .figures')
    await figures.getByText('1 event').waitFor(deadline)
    await page.clock.fastForward('10:00')
    await figures.getByText(/^10 min/).waitFor(deadline)
    await hub.kill()
    await page.getByText('Connection lost').waitFor(deadline)
    await page.clock.fastForward('30:00')
    await page.clock.runFor(2_000)
    const shown = await figures.innerText()
    t.match(shown, /10 min/)
    await page.clock.fastForward('30:00')
    await page.clock.runFor(2_000)
    t.equal(await figures.innerText(), shown, 'it stands still')
  })
})
