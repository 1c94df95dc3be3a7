import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import { complaintsOf, launch, skip as noBrowser } from '../kit/chromium.js'
import { freePort } from '../kit/free-port.js'
import { served } from '../kit/served.js'
import { type } from '../kit/terminal.js'
import { until } from '../kit/wait.js'
import { filesOf, installClient, installRuncast, missing, start } from './apps.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const vite = fileURLToPath(new URL('node_modules/vite/bin/vite.js', import.meta.url))
const next = fileURLToPath(new URL('node_modules/next/dist/bin/next', import.meta.url))
const isOffline = process.env['RUNCAST_REGISTRY'] === undefined
const skip = missing('vite') || missing('next') || noBrowser

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(`${root}${folder}/package.json`, 'utf8'))

const isVite =
  (...words: readonly string[]) =>
  (port: number) => [
    process.execPath,
    vite,
    ...words,
    '--host',
    '127.0.0.1',
    '--port',
    `${port}`,
    '--strictPort',
  ]

t.test(
  'the examples name the versions that they are tested with, and are told of in their README',
  async (t) => {
    const tested = { ...manifestOf('').devDependencies, ...manifestOf('test/frameworks').dependencies }
    for (const name of readdirSync(`${root}examples`, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? entry.name : [],
    )) {
      const { dependencies, devDependencies } = manifestOf(`examples/${name}`)
      for (const [needed, version] of Object.entries({ ...dependencies, ...devDependencies })) {
        if (version.startsWith('file:') || needed.startsWith('@types/')) continue
        t.equal(version, tested[needed], `${name}: ${needed}`)
      }
      const readme = readFileSync(`${root}examples/${name}/README.md`, 'utf8')
      t.match(readFileSync(`${root}examples/README.md`, 'utf8'), `(${name}/README.md)`)
      for (const [, path = ''] of readme.matchAll(/^\| `(\S+)` \|/gm))
        t.ok(path in filesOf(`examples/${name}`), path)
    }
  },
)

t.test('in Chromium', { skip }, async (t) => {
  const browser = await launch(t)
  await Promise.all([installClient(t), installRuncast(t)])

  t.test('the chat: several people see, write in and stop the same answers', async (t) => {
    const { hub, url } = await served(t)
    const env = { RUNCAST_HUB: url }
    const app = await start(t, {
      main: 'chat',
      files: filesOf('examples/chat'),
      command: isVite(),
      env,
      path: '/',
    })
    startAgent(t, app.folder, env)
    await until('the agent follows', () => hub.stats().subscriptions === 1)
    const complaints: string[] = []
    const [ann, bob] = await Promise.all([
      open(t, browser, `${app.origin}/`, complaints),
      open(t, browser, `${app.origin}/?by=bob`, complaints),
    ])
    await say(ann, 'Hello')
    for (const page of [ann, bob]) await page.getByText('2 viewers').waitFor()
    await bob.getByText('ann: Hello').waitFor()
    for (const page of [ann, bob]) await page.getByText(/agent: You said “Hello”.* sees it grow\./).waitFor()
    // An answer of a thousand words is still on its way when somebody stops it.
    await say(bob, 'word '.repeat(1_000))
    await ann.getByText(/agent: You said “word word/).waitFor()
    await ann.getByRole('button', { name: 'Stop' }).click()
    for (const page of [ann, bob]) await page.getByText('(stopped)').waitFor()
    await ann.reload()
    await ann.getByText('(stopped)').waitFor()
    t.same(await ann.locator('li').allInnerTexts(), await bob.locator('li').allInnerTexts())
    t.equal(await ann.locator('li').count(), 4)
    t.strictSame(complaints, [])
  })

  const guide = readFileSync(`${root}docs/guide/react.md`, 'utf8')
  /** @returns the files that the guide has one write, for a hub at that address */
  const filesOfGuide = (url: string): Record<string, string> =>
    Object.fromEntries(
      [...guide.matchAll(/^```tsx? (\S+)\n(.*?)^```/gms)].map(([, path = '', text = '']) => [
        path,
        text.replace('http://127.0.0.1:4600', url),
      ]),
    )
  const showsBuild = async (t: Test, hub: Hub, origin: string) => {
    const complaints: string[] = []
    const page = await open(t, browser, origin, complaints)
    await page.getByRole('heading', { name: 'build-42' }).waitFor()
    await page.getByText('connected', { exact: true }).waitFor()
    const output = { type: 'process.output', data: { stream: 'stdout', text: 'all is well' } }
    hub.publish('sessions/build-42/workers/list', [output])
    hub.endSession('build-42')
    await page.getByText('list: all is well').waitFor()
    await page.reload()
    await page.getByText('list: all is well').waitFor()
    t.equal(await page.locator('li').count(), 1)
    t.strictSame(complaints, [])
  }

  t.test('a front-end of an empty folder, typed from the guide', async (t) => {
    const { hub, url } = await served(t)
    t.strictSame(Object.keys(filesOfGuide(url)), ['vite.config.ts', 'src/App.tsx'])
    const files = { ...template, ...filesOfGuide(url) }
    const app = await start(t, { main: 'live', files, command: isVite(), path: '/' })
    await showsBuild(t, hub, app.origin)
  })

  t.test(
    'the same with the newest template and packages of the registry',
    { skip: isOffline && 'asks the registry, for a minute: RUNCAST_REGISTRY=1' },
    async (t) => {
      const { hub, url } = await served(t)
      const cwd = mkdtempSync(join(tmpdir(), 'runcast-vite-'))
      t.teardown(() => rmSync(cwd, { recursive: true, force: true }))
      const packed = spawnSync('npm', ['pack', '--json', '--pack-destination', cwd], {
        cwd: `${root}packages/client`,
        encoding: 'utf8',
      })
      const [{ filename }] = JSON.parse(packed.stdout) as [{ readonly filename: string }]
      const [made = '', started = ''] = [...guide.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block]) => block)
      const at = { cwd, port: Number(new URL(url).port) }
      const words = made.replace('npm install @runcast/client', `npm install ../${filename}`)
      t.not(words, made)
      const making = type(t, `set -e\nexport npm_config_yes=true\n${words}`, at)
      t.equal(await making.ended, 0, making.shown())
      for (const [path, text] of Object.entries(filesOfGuide(url)))
        writeFileSync(join(cwd, 'live', path), text)
      const building = type(t, 'npm run build', { ...at, cwd: join(cwd, 'live') })
      t.equal(await building.ended, 0, building.shown())
      const port = await freePort()
      const [dev = ''] = started.split('\n')
      const running = type(t, `${dev} -- --host 127.0.0.1 --port ${port} --strictPort`, {
        ...at,
        cwd: join(cwd, 'live'),
      })
      await running.shows('ready in')
      await showsBuild(t, hub, `http://127.0.0.1:${port}`)
      await running.stop()
    },
  )

  t.test('the wall: a tile for each worker, as long as it has something to show', async (t) => {
    const { hub, url } = await served(t)
    const env = { RUNCAST_HUB: url }
    const files = filesOf('examples/wall')
    const app = await start(t, { main: 'wall', files, command: isVite(), env, path: '/' })
    const built = spawnSync(process.execPath, [vite, 'build'], { cwd: app.folder, encoding: 'utf8' })
    t.equal(built.status, 0, built.stderr)
    const complaints: string[] = []
    const page = await open(t, browser, app.origin, complaints)
    await page.getByText('live').waitFor()
    const tile = (name: string) => page.locator('article', { has: page.getByRole('heading', { name }) })

    const demo = hub.session('demo')
    const output = (text: string) => ({ type: 'process.output', data: { stream: 'stdout', text } })
    demo.worker('count').publish([{ type: 'process.started', data: { command: 'count' } }, output('1\n2\n')])
    await tile('demo / count').getByText('1 2').waitFor()
    await tile('demo / count').getByText('running').waitFor()
    const asked = { request_id: 'r', prompt: 'Go on?' }
    demo.worker('ask').publish([{ type: 'client_input_requested', data: asked }])
    await tile('demo / ask').getByText('needs you').waitFor()
    hub
      .session('broken')
      .worker('test')
      .publish([output('no'), { type: 'process.exited', data: { code: 1 } }])
    await tile('broken / test').getByText('failed').waitFor()
    hub.endSession('broken')
    hub.endSession('demo', undefined, { result: 'succeeded' })
    await tile('demo / count').waitFor({ state: 'detached' })
    t.strictSame(await page.getByRole('heading').allInnerTexts(), ['broken / test'], 'what failed stays')
    t.strictSame(complaints, [])
  })

  t.test('Next: jobs of the server are live in every browser', async (t) => {
    const app = await start(t, {
      main: 'next',
      files: filesOf('examples/next'),
      command: (port) => [process.execPath, next, 'dev', '--hostname', '127.0.0.1', '--port', `${port}`],
      path: '/',
    })
    const complaints: string[] = []
    const pages = await Promise.all([1, 2].map(() => open(t, browser, app.origin, complaints)))
    for (const page of pages) await page.getByText('connected').waitFor()
    await pages[0]?.getByRole('button', { name: 'Start a job' }).click()
    for (const page of pages) {
      await page.getByText('fetch … index … check …').waitFor()
      await page.getByText('ended').waitFor()
      await page.locator('progress[value="3"]').waitFor()
    }
    const own = await open(t, browser, `${app.origin}/live/`, complaints)
    await own.getByText('Connected · SSE').waitFor()
    // The page of the hub tries a WebSocket first, which Next ends.
    t.strictSame(
      complaints.filter((text) => !text.includes('WebSocket')),
      [],
    )
  })
})

/** What `npm create vite@latest live -- --template react-ts` makes, as far as the guide leaves it as it is. */
const template = {
  'package.json': '{ "type": "module", "private": true }',
  'index.html': `<!doctype html>
<html lang="en"><body><div id="root"></div><script type="module" src="/src/main.tsx"></script></body></html>`,
  'src/main.tsx': `import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import App from './App.tsx'

createRoot(document.getElementById('root')!).render(<StrictMode><App /></StrictMode>)`,
}

async function open(t: Test, browser: Browser, url: string, complaints: string[]): Promise<Page> {
  const page = await browser.newPage()
  // A dev server compiles what a page asks for, which takes long on a busy machine.
  page.setDefaultTimeout(120_000)
  t.teardown(() => page.close())
  const own = complaintsOf(page)
  own.push = (...texts) => complaints.push(...texts)
  await page.goto(url)
  return page
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text)
  await page.getByRole('button', { name: 'Send' }).click()
}

function startAgent(t: Test, cwd: string, env: Record<string, string>): void {
  const agent = spawn(process.execPath, ['agent.mjs'], {
    cwd,
    env: { ...process.env, ...env },
    stdio: 'inherit',
  })
  t.teardown(() => new Promise((resolve) => agent.once('exit', resolve) && agent.kill('SIGKILL')))
}
