import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { clientSuite, type Far, ways } from '../conformance/client.js'
import { bundle, launch, openWith, skip } from '../kit/chromium.js'
import { farHub } from '../kit/far-hub.js'
import { SeededRandom } from '../kit/random.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

const seed = Number(process.env.SEED ?? 20_251)

t.test('the client in Chromium', { skip }, async (t) => {
  const browser = await launch(t)
  const script = await bundle('test/conformance/client.ts')
  for (const [way, options] of Object.entries(ways)) {
    t.test(way, async (t) => {
      t.comment(`SEED=${seed}`)
      for (const name of Object.keys(clientSuite)) {
        t.test(name, async (t) => {
          const { url, far } = await farHub(t)
          const { page } = await openWith(t, browser, { url, script })
          await page.exposeFunction('farCall', (called: keyof Far, args: never[]) =>
            (far[called] as (...args: never[]) => Promise<unknown>)(...args),
          )
          const asked = { name, url, seed, cuts: 10, ...options }
          await t.resolves(page.evaluate(`bundle.runInPage(${JSON.stringify(asked)})`))
        })
      }
    })
  }
})

/** Counts on in a session and follows it; what it has and has sent is in its storage, where the next page goes on. */
const counting = (url: string): string => `<script type="module">
  import { connect } from '${url}/client.js'
  const { got, after, next } = { got: [], next: 0, ...JSON.parse(localStorage.getItem('had') ?? '{}') }
  const had = { got, after, next }
  const keep = () => localStorage.setItem('had', JSON.stringify(had))
  const client = connect('${url}', { backoff: { firstMs: 10, mostMs: 50 } })
  const subscription = client.subscribe({ topic: 'sessions/s', replay: 'all', ...(after && { after }) }, {
    onEvent: ({ data }) => {
      had.got.push(data)
      had.after = subscription.position
      keep()
    },
    onGap: () => had.got.push('gap'),
  })
  for (;;) {
    await client.publish('sessions/s', [{ type: 'note', id: 'n' + had.next, data: had.next }])
    had.next += 1
    keep()
  }
</script>`

t.test('pages that are killed at random miss nothing and repeat nothing', { skip }, async (t) => {
  const kills = Number(process.env.RUNCAST_PAGE_KILLS ?? 6)
  t.comment(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const browser = await launch(t)
  // All that the pages publish is kept, and compared in the end.
  const limits = { laneEventsMax: 1_000_000, historyBytesMax: 2 ** 28 }
  const { hub, url } = await served(t, { hub: { limits } })
  const origin = await pageOf(t, counting(url))
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const hadBy = async (page: Page) =>
    JSON.parse((await page.evaluate<string | null>(`localStorage.getItem('had')`)) ?? '{"next":0}')
  for (let kill = 0; kill <= kills; kill++) {
    const page = await context.newPage()
    await page.goto(origin)
    const before = (await hadBy(page)).next
    const more = 1 + Math.floor(random.fraction() * 40)
    await until('the page has counted on', async () => (await hadBy(page)).next >= before + more)
    if (kill < kills) {
      const gone = new Promise((resolve) => page.once('crash', resolve))
      // Without a word to the page, and without an end of its links.
      void context.newCDPSession(page).then((devtools) => devtools.send('Page.crash').catch(() => {}))
      await gone
    } else {
      const had = await hadBy(page)
      const numbers: unknown[] = []
      let past = await hub.readHistory('sessions/s', { limit: 1_000 })
      for (;;) {
        numbers.push(...past.events.map(({ data }) => data))
        if (past.next === undefined) break
        past = await hub.readHistory('sessions/s', { limit: 1_000, after: past.next })
      }
      t.strictSame(
        numbers,
        numbers.map((_, at) => at),
        `each of ${numbers.length} was published once`,
      )
      t.ok(had.got.length > kills)
      t.strictSame(
        had.got,
        had.got.map((_: unknown, at: number) => at),
        'the pages had each once, in order',
      )
    }
    await page.close()
  }
})

/** Serves one page from an origin of its own. */
async function pageOf(t: Test, html: string): Promise<string> {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end(html))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('a page without a build, from another origin', { skip }, async (t) => {
  const browser = await launch(t)

  t.test('follows a session by the client that the hub serves, as in the guide', async (t) => {
    const { hub, url } = await served(t)
    const guide = readFileSync(new URL('../../docs/guide/client.md', import.meta.url), 'utf8')
    const html = /```html\n(.+?)```/s.exec(guide)?.[1]?.replaceAll('http://127.0.0.1:4600', url) ?? ''
    const context = await browser.newContext()
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto(await pageOf(t, html))
    hub.publish('sessions/build-42/workers/lint', [
      { type: 'process.output', data: { stream: 'stdout', text: 'all is well' } },
    ])
    await page.getByText('lint: all is well').waitFor()
  })

  t.test('is told which flag lets it in', async (t) => {
    const { url } = await served(t, { serve: { auth: { secrets: [secret] } } })
    const token = await mint({ subscribe: ['**'] })
    const origin = await pageOf(
      t,
      `<pre></pre><script type="module">
        import { connect } from '${url}/client.js'
        const client = connect('${url}', { token: '${token}', backoff: { firstMs: 10, mostMs: 50 } })
        client.onStatus(({ reason }) => reason && document.querySelector('pre').append(reason + '\\n'))
      </script>`,
    )
    const context = await browser.newContext()
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto(origin)
    const said = page.getByText('refuses pages of').first()
    await said.waitFor()
    assert((await said.innerText()).includes(`refuses pages of ${origin}: start it with --origin ${origin}`))
  })
})
