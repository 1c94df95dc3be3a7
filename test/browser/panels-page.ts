import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import type { Test } from 'tap'
import { buildPanels } from '../../scripts/panels.js'
import { buildCommandLine, type CommandLine } from '../cli/command-line.js'
import { complaintsOf, launch } from '../kit/chromium.js'
import { freePort } from '../kit/free-port.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** `runcast serve` in a process of its own. */
export interface Hub {
  readonly url: string
  kill(): Promise<void>
  /** Starts it again as it was, on the same port. */
  again(): Promise<Hub>
}

export interface PanelsPage {
  readonly commandLine: CommandLine
  readonly browser: Browser
  /** Starts a hub, in memory unless the words say otherwise; it ends with the test. */
  serve(t: Test, ...words: string[]): Promise<Hub>
}

/** The page as a built hub serves it, and a browser to open it in. */
export async function panelsPage(t: Test): Promise<PanelsPage> {
  const [commandLine] = await Promise.all([buildCommandLine(), build()])
  t.teardown(() => commandLine.remove())
  const browser = await launch(t)

  async function start(t: Test, port: string, words: readonly string[]): Promise<Hub> {
    const running = commandLine.start(['serve', '--port', port, '--store', 'memory', ...words])
    const kill = async () => {
      running.process.kill('SIGKILL')
      await running.finished
    }
    t.teardown(kill)
    await running.says('Ctrl-C ends the hub')
    return { url: `http://127.0.0.1:${port}`, kill, again: () => start(t, port, words) }
  }
  return { commandLine, browser, serve: async (t, ...words) => start(t, String(await freePort()), words) }
}

/** Builds the page where a server that runs from `.tap/cli-…` looks for it; other test files may do the same. */
async function build(): Promise<void> {
  const [own, folder] = [`${root}.tap/panels-${process.pid}`, `${root}.tap/panels`]
  await buildPanels(own)
  await mkdir(folder, { recursive: true })
  for (const name of await readdir(own)) await rename(`${own}/${name}`, `${folder}/${name}`)
  await rm(own, { recursive: true })
}

export interface Opened {
  readonly page: Page
  /** What the browser says against the page: errors and violations of its policy. */
  readonly complaints: string[]
}

/** Closed at the end of the test. */
export async function open(
  t: Test,
  browser: Browser,
  url: string,
  colorScheme: 'light' | 'dark' = 'light',
): Promise<Opened> {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1400, height: 1400 } })
  t.teardown(() => page.close())
  const complaints = complaintsOf(page)
  await page.goto(url)
  return { page, complaints }
}

/** Publishes to `{session}` or `{session}/workers/{worker}`: one event, or several, a line each. */
export async function publish(hub: Hub, place: string, ...events: readonly unknown[]): Promise<void> {
  const body = events.map((event) => `${JSON.stringify(event)}\n`).join('')
  await send('POST', `${hub.url}/api/sessions/${place}/events`, 'application/x-ndjson', body)
}

export async function put(hub: Hub, place: string, value: unknown): Promise<void> {
  await send('PUT', `${hub.url}/api/sessions/${place}`, 'application/json', JSON.stringify(value))
}

async function send(method: string, url: string, type: string, body: string): Promise<void> {
  const answer = await fetch(url, { method, headers: { 'content-type': type }, body })
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`)
}
