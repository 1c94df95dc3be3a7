import { existsSync, readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { renderToString } from 'react-dom/server'
import t, { type Test } from 'tap'
import type { ConnectOptions } from '../../src/client.js'
import { bundle, launch, openWith, skip } from '../kit/chromium.js'
import { farHub } from '../kit/far-hub.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { page as reactPage, type Shown } from './react-app.js'

t.test('tabs that share a connection', { skip }, async (t) => {
  const browser = await launch(t)
  const script = await bundle('test/browser/tab.ts')

  /** Opens tabs of one browser profile that follow the same topic. */
  async function openTabs(t: Test, { url, count, options = {} }: Tabs): Promise<Page[]> {
    const context = await browser.newContext()
    t.teardown(() => context.close())
    return await Promise.all(
      Array.from({ length: count }, async () => {
        const { page } = await openWith(t, context, { url, script })
        await page.evaluate(`bundle.follow(${JSON.stringify(url)}, ${JSON.stringify(options)})`)
        await page.waitForFunction(`bundle.client.status.kind === 'open'`)
        return page
      }),
    )
  }

  const has = (page: Page, last: number) => page.waitForFunction(`bundle.seen.data.at(-1) === ${last}`)
  const seenBy = (page: Page) => page.evaluate<Seen>('bundle.seen')
  /** @returns the tab that has the connection: it is the one whose lock others wait for */
  async function leaderOf(pages: readonly Page[]): Promise<Page> {
    const holds = `Promise.all([navigator.locks.query(), navigator.locks.request('probe' + Math.random(), () => navigator.locks.query())])
      .then(([, { held }]) => { const own = held.find(({ name }) => name.startsWith('probe')).clientId
        return held.some(({ name, clientId }) => clientId === own && name.endsWith(' true')) })`
    for (const page of pages) if (await page.evaluate<boolean>(holds)) return page
    throw new Error('no tab has the connection')
  }

  for (const transport of ['websocket', 'sse'] as const) {
    t.test(`share a link by ${transport}, and lose and repeat nothing when its tab closes`, async (t) => {
      const { hub, url } = await served(t)
      const pages = await openTabs(t, { url, count: 4, options: { transport } })
      await until('all follow', () => hub.stats().subscriptions === 4)
      // Over SSE events name only their topic: each subscription to the same one has a response.
      if (transport === 'websocket') t.equal(hub.stats().connections, 1)
      let last = 0
      const publish = (count: number): void => {
        for (let left = count; left > 0; left -= 1) {
          last += 1
          hub.publish('sessions/s', [{ type: 'note', data: last }])
        }
      }
      publish(100)
      await Promise.all(pages.map((page) => has(page, last)))
      for (let open = pages; open.length > 1; ) {
        const leader = await leaderOf(open)
        open = open.filter((page) => page !== leader)
        const closing = leader.close()
        // Before, while and after nobody has the connection.
        for (let round = 0; round < 20; round += 1) {
          publish(5)
          hub.setState('sessions/s', 'n', last)
          await new Promise((resolve) => setImmediate(resolve))
        }
        await closing
        publish(5)
        hub.setState('sessions/s', 'n', last)
        await Promise.all(open.map((page) => has(page, last)))
        await Promise.all(open.map((page) => page.waitForFunction(`bundle.seen.state === ${last}`)))
        await until('who has gone is gone from the hub', () => hub.stats().subscriptions === open.length)
        if (transport === 'websocket') t.equal(hub.stats().connections, 1)
        for (const page of open) {
          const { data, gaps } = await seenBy(page)
          t.strictSame(
            data,
            Array.from({ length: last }, (_, at) => at + 1),
          )
          t.strictSame(gaps, [])
        }
      }
    })
  }

  t.test('publish, ask and unsubscribe each for itself', async (t) => {
    const { hub, url } = await served(t)
    const pages = await openTabs(t, { url, count: 3 })
    const receipts = await Promise.all(
      pages.map((page, at) =>
        page.evaluate<unknown[]>(`Promise.all([
          bundle.client.publish('sessions/of-${at}', [{ type: 'a' }, { type: 'b' }]),
          bundle.client.setState('sessions/of-${at}', 'n', ${at}),
          bundle.client.patchState('sessions/of-${at}', 'n', [{ op: 'remove', path: '/none' }]).catch(({ code }) => code),
        ])`),
      ),
    )
    for (const [published, changed, refused] of receipts) {
      t.match(published, { first: 1, last: 2 })
      t.match(changed, { changed: true })
      t.equal(refused, 'conflict')
    }
    await until('all follow', () => hub.stats().subscriptions === 3)
    const leader = await leaderOf(pages)
    const other = pages.find((page) => page !== leader)
    await other?.evaluate('bundle.client.close()')
    await until('its subscription has gone', () => hub.stats().subscriptions === 2)
    hub.publish('sessions/s', [{ type: 'note', data: 1 }])
    await Promise.all(pages.filter((page) => page !== other).map((page) => has(page, 1)))
    t.equal(hub.stats().connections, 1)
  })

  t.test('of another name have another connection', async (t) => {
    const { hub, url } = await served(t)
    const [page] = await openTabs(t, { url, count: 1, options: { tabs: 'ann' } })
    t.ok(page)
    const context = page?.context()
    if (context === undefined) return
    const { page: other } = await openWith(t, context, { url, script })
    await other.evaluate(`bundle.follow(${JSON.stringify(url)}, { tabs: 'bob' })`)
    await until('both are connected', () => hub.stats().connections === 2)
  })

  t.test('take the connection from a tab that is frozen, and it comes back as one of them', async (t) => {
    const { hub, url } = await served(t, { hub: { limits: { heartbeatMs: 300 } } })
    const pages = await openTabs(t, { url, count: 3 })
    await until('all follow', () => hub.stats().subscriptions === 3)
    const leader = await leaderOf(pages)
    const devtools = await leader.context().newCDPSession(leader)
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' })
    const others = pages.filter((page) => page !== leader)
    hub.publish('sessions/s', [{ type: 'note', data: 1 }])
    await Promise.all(others.map((page) => has(page, 1)))
    await devtools.send('Page.setWebLifecycleState', { state: 'active' })
    hub.publish('sessions/s', [{ type: 'note', data: 2 }])
    await Promise.all(pages.map((page) => has(page, 2)))
    await until('there is one connection again', () => hub.stats().connections === 1)
    for (const page of pages) t.strictSame((await seenBy(page)).data, [1, 2])
  })
})

t.test('runcast/react', { skip }, async (t) => {
  const browser = await launch(t)
  const script = await bundle('test/browser/react-app.ts')
  const call = (page: Page, name: string, ...args: unknown[]) =>
    page.evaluate(`bundle.${name}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`)

  t.test('shares subscriptions in strict mode, draws what changes, and leaves nothing behind', async (t) => {
    const { hub, url } = await served(t)
    const { page, complaints } = await openWith(t, browser, { url, script })
    const session = hub.session('s')
    session.publish({ type: 'execution_started', data: 0 })
    session.setState('plan', { done: 0 })
    const shown: Shown = { topic: 'sessions/s', lists: 2, slices: ['plan', 'budget'] }
    await call(page, 'draw', url, shown)
    await page.locator('ol.live li', { hasText: 'execution_started 0' }).nth(1).waitFor()
    await page.locator('#plan', { hasText: '{"done":0}' }).waitFor()
    t.equal(hub.stats().subscriptions, 2, 'one for two lists, one for two slices')
    const before = await page.evaluate<Record<string, number>>('({ ...bundle.drawn })')
    session.setState('plan', { done: 1 })
    await page.locator('#plan', { hasText: '{"done":1}' }).waitFor()
    const after = await page.evaluate<Record<string, number>>('bundle.drawn')
    t.equal(after['budget'], before['budget'], 'another slice is not drawn again')
    t.equal(after['list'], before['list'], 'nor are the events')
    session.publish(Array.from({ length: 50 }, (_, at) => ({ type: 'note', data: at })))
    await page.locator('ol li', { hasText: 'note 49' }).nth(1).waitFor()
    t.equal(await page.locator('ol li').count(), 102)

    await call(page, 'draw', url, {
      ...shown,
      lists: 1,
      options: { types: ['note'], replay: 'all', eventsMax: 3 },
    })
    await page.locator('ol.live li', { hasText: 'note 49' }).waitFor()
    t.strictSame(await page.locator('ol li').allInnerTexts(), ['note 47', 'note 48', 'note 49'], 'the newest')
    await until('the filter before has gone', () => hub.stats().subscriptions === 2)
    await call(page, 'draw', url, { ...shown, lists: 1, options: { types: ['note'], last: 2 } })
    await page.locator('ol.live li', { hasText: 'note 49' }).waitFor()
    t.strictSame(await page.locator('ol li').allInnerTexts(), ['note 48', 'note 49'], 'the last two')
    const later = hub.find('s')?.startedAt ?? 0
    await call(page, 'draw', url, {
      ...shown,
      lists: 1,
      options: { types: ['note'], since: later + 3_600_000 },
    })
    await page.locator('ol.live').waitFor()
    t.equal(await page.locator('ol li').count(), 0, 'nothing since a time to come')
    await call(page, 'draw', url, { ...shown, lists: 1, options: { types: ['note'], replay: false } })
    await page.locator('ol.live').waitFor()
    t.equal(await page.locator('ol li').count(), 0, 'other options begin afresh')

    const others = { types: ['note', 'comp*'], last: 1 }
    await call(page, 'draw', url, {
      ...shown,
      lists: 1,
      options: { types: ['note'], last: 1 },
      other: others,
    })
    await page.locator('ol.live').nth(1).waitFor()
    hub.endSession('s')
    await page.locator('li', { hasText: 'complete' }).waitFor()
    t.strictSame(
      await page.locator('ol li').allInnerTexts(),
      ['note 49', 'note 49', 'complete {}'],
      'the end of the session is in a list that asks for it, and in no other',
    )

    await call(page, 'draw', url, { topic: 'rooms/7', lists: 1, slices: [] })
    await page.locator('ol.refused').waitFor()
    await call(page, 'draw', url, { lists: 1, slices: ['plan'] })
    await page.locator('#plan', { hasText: 'nothing' }).waitFor()
    await until('without a topic nothing is followed', () => hub.stats().subscriptions === 0)
    await call(page, 'draw', url, shown)
    await page.locator('#plan', { hasText: '{"done":1}' }).waitFor()
    await call(page, 'leave')
    await until('nothing is followed any more', () => hub.stats().subscriptions === 0)
    t.equal(hub.stats().connections, 1, 'the client is its owner’s')
    t.strictSame(complaints, [])
  })

  const react19 = new URL('../frameworks/node_modules/', import.meta.url).pathname
  for (const [version, modules] of [
    ['18', {}],
    ['19', { react: `${react19}react`, 'react-dom': `${react19}react-dom` }],
  ] as const) {
    const absent = version === '19' && !existsSync(`${react19}react-dom`) && 'npm ci --prefix test/frameworks'
    t.test(`follows once what suspends, in React ${version}`, { skip: absent }, async (t) => {
      const { hub, url } = await served(t)
      for (const id of ['a', 'b']) hub.session(id).publish({ type: 'note', data: `${id}1` })
      const held = await bundle('test/browser/react-app.ts', modules)
      const { page, complaints } = await openWith(t, browser, { url, script: held })
      const sent: string[] = []
      page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(String(payload))))
      const subscribed = () => sent.filter((frame) => frame.includes('"subscribe"')).length

      await call(page, 'closeGate', 'sessions/a')
      await call(page, 'drawHeld', url)
      await page.getByText('waiting').waitFor()
      await until('it is connected', () => hub.stats().connections === 1)
      t.equal(hub.stats().subscriptions, 0, 'what was never there follows nothing')
      await call(page, 'openGate')
      await page.locator('#sessions-a.live').getByText('note "a1"').waitFor()
      t.equal(subscribed(), 1, 'two components in strict mode share one subscription')

      await call(page, 'closeGate', 'sessions/a')
      await call(page, 'suspend')
      await page.getByText('waiting').waitFor()
      hub.publish('sessions/a', [{ type: 'note', data: 'a2' }])
      await call(page, 'openGate')
      await page.locator('#sessions-a').getByText('note "a2"').waitFor()
      t.equal(subscribed(), 1, 'it has not begun anew')
      t.equal(await page.locator('li').count(), 2)

      await call(page, 'closeGate', 'sessions/b')
      await call(page, 'move', 'sessions/b')
      hub.publish('sessions/a', [{ type: 'note', data: 'a3' }])
      await page.locator('#sessions-a').getByText('note "a3"').waitFor()
      t.equal(await page.getByText('waiting').count(), 0, 'what was there stays until the other is ready')
      await call(page, 'openGate')
      await page.locator('#sessions-b.live').getByText('note "b1"').waitFor()
      await until('only the other is followed', () => hub.stats().subscriptions === 1)
      t.equal(subscribed(), 2)
      await call(page, 'leave')
      await until('nothing is followed', () => hub.stats().subscriptions === 0)
      hub.publish('sessions/b', [{ type: 'note', data: 'b2' }])
      t.strictSame(complaints, [])
    })
  }

  t.test('begins the list anew with another epoch, and goes on after a cut', async (t) => {
    const first = await farHub(t)
    const { page } = await openWith(t, browser, { url: first.url, script })
    await call(page, 'draw', first.url, { topic: 'sessions/s', lists: 1, slices: [] })
    await page.locator('ol.live').waitFor()
    await first.far.publish('sessions/s', [{ type: 'note', data: 1 }])
    await first.far.cut('hard')
    await first.far.publish('sessions/s', [{ type: 'note', data: 2 }])
    await page.locator('li', { hasText: 'note 2' }).waitFor()
    t.strictSame(await page.locator('li').allInnerTexts(), ['note 1', 'note 2'])
    await first.far.replaceHub()
    await page.locator('ol.epoch').waitFor()
    await first.far.publish('sessions/s', [{ type: 'note', data: 3 }])
    await page.locator('li', { hasText: 'note 3' }).waitFor()
    t.strictSame(await page.locator('li').allInnerTexts(), ['note 3'])
  })

  t.test('draws the example of the guide', async (t) => {
    const { hub, url } = await served(t)
    const guide = readFileSync(new URL('../../docs/guide/react.md', import.meta.url), 'utf8')
    const [example = '', inbox = ''] = [...guide.matchAll(/```tsx.*?\n(.+?)```/gs)].map(([, tsx]) => tsx)
    const { page, complaints } = await openWith(t, browser, { url, script: ' ' })
    // As the template of Vite has it.
    const drawn = async (app: string) => {
      await page.evaluate(`document.body.innerHTML = '<main id="root"></main>'`)
      const main = `import { createRoot } from 'react-dom/client'
        createRoot(document.querySelector('#root')!).render(<App />)`
      await page.addScriptTag({ content: await bundle({ tsx: `${app}\n${main}` }) })
    }
    await drawn(example)
    const session = hub.session('build-42')
    await page.getByText('connected').waitFor()
    session.setState('plan', { goal: 'Ship it' })
    session
      .worker('lint')
      .publish({ type: 'process.output', data: { stream: 'stdout', text: 'all is well' } })
    session.worker('lint').publish({ type: 'step-end' })
    await page.getByRole('heading', { name: 'Ship it' }).waitFor()
    await page.getByText('lint: all is well').waitFor()

    hub.endSession('build-42', undefined, { result: 'failed' })
    await drawn(inbox)
    await page.getByText('failed').waitFor()
    const asking = hub.session('ship')
    asking.worker('release').publish({
      type: 'client_input_requested',
      data: { request_id: 'r1', prompt: 'Publish it?' },
    })
    await page.getByText('release: Publish it?').waitFor()
    t.strictSame(
      await page.locator('h2').allInnerTexts(),
      ['ship', 'build-42'],
      'what needs a person is first',
    )
    await page.getByRole('button', { name: 'Yes' }).click()
    await page.getByText('release: Publish it?').waitFor({ state: 'detached' })
    const [answered] = hub.history('sessions/ship/workers/release', { types: ['command.input'] }).events
    t.match(answered?.data, { key: 'r1', text: 'yes' })
    t.strictSame(complaints, [])
  })

  t.test('is drawn by a server without a connection, and taken over in the browser', async (t) => {
    const { hub, url } = await served(t)
    const shown: Shown = { topic: 'sessions/s', lists: 1, slices: ['plan'] }
    hub.session('s').setState('plan', 7)
    const html = renderToString(reactPage(url, shown))
    t.match(html, /connecting.*joining.*nothing/)
    t.equal(hub.stats().connections, 0)
    const { page, complaints } = await openWith(t, browser, { url, script })
    await page.evaluate(`document.body.innerHTML = ${JSON.stringify(`<main id="root">${html}</main>`)}`)
    await call(page, 'hydrate', url, shown)
    await page.locator('#plan', { hasText: '7' }).waitFor()
    await page.locator('ol.live').waitFor()
    await until('the connection of the first mounting has gone', () => hub.stats().connections === 1)
    t.equal(hub.stats().subscriptions, 2)
    t.strictSame(complaints, [], 'React finds no difference')
    await call(page, 'leave')
    await until('the provider has closed its connection', () => hub.stats().connections === 0)
  })
})

interface Tabs {
  readonly url: string
  readonly count: number
  readonly options?: ConnectOptions
}

type Seen = typeof import('./tab.js').seen
