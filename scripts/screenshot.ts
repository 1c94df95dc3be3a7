/** `tsx scripts/screenshot.ts [folder]`: pictures of the panels page while real commands run, for the README and the guide. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chromium, type Page } from 'playwright-core'
import { buildPanels } from './panels.js'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)
const folder = process.argv[2] ?? 'docs/images'

const chromiumArgs = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const children: ChildProcess[] = []

function runcast(...words: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, FORCE_COLOR: '1' },
  })
  children.push(child)
  return child
}

async function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk)
    const found = pattern.exec(text)
    if (found !== null) return found[0]
  }
  throw new Error(`ended without saying ${pattern.source}: ${text}`)
}

const lint = String.raw`for f in hub/hub hub/feed hub/join hub/filter history/read state/compare server/stream client/view; do printf '\033[32m✓\033[0m src/%s.ts \033[2m%d ms\033[0m\n' $f $((RANDOM % 40 + 3)); sleep 0.5; done; printf '\033[33mwarning\033[0m  src/server/http/query.ts:41  an unused parameter \033[2mno-unused-vars\033[0m\n'; sleep 30`
const test = String.raw`n=0; while [ $n -lt 60 ]; do n=$((n+1)); printf '\033[1;42m PASS \033[0m %s \033[2m(%d ms)\033[0m\n' "resumes after cut number $n" $((RANDOM % 90 + 10)); sleep 0.08; done; printf '\033[1;41m FAIL \033[0m a stalled reader costs nothing\n' ; echo '  expected 0, got 12 KiB' >&2; exit 1`
const build = String.raw`n=0; while [ $n -lt 400 ]; do n=$((n+1)); printf '\033[36mbundle\033[0m chunk-%04d.js  \033[35m%d kB\033[0m\n' $n $((RANDOM % 90 + 4)); sleep 0.05; done`

async function post(url: string, body: unknown, method = 'POST'): Promise<void> {
  const answer = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`)
}

const answer =
  'Three checks run in parallel. The linter is through with one warning; the tests stopped at the stalled reader, ' +
  'so I look at how its backlog is counted before I touch the bundle.'

/** An agent that works in the session while its workers run. */
async function agent(url: string, session: string): Promise<void> {
  const events = `${url}/api/sessions/${session}/events`
  await post(events, { type: 'execution_started', data: { by: 'ci', branch: 'stalled-reader' } })
  const tool = { tool_use_id: 'c1', tool_name: 'read_file', tool_input: { path: 'src/transport/backlog.ts' } }
  await post(events, { type: 'tool_call_started', data: tool })
  await post(events, {
    type: 'tool_call_completed',
    data: { tool_use_id: 'c1', tool_name: 'read_file', result: '118 lines' },
  })
  for (const content of answer.split(/(?<= )/))
    await post(events, { type: 'llm_text_delta', data: { content } })
  await post(events, { type: 'goal_progress', data: { done: 2, of: 3 } })
  await post(events, {
    type: 'tool_call_started',
    data: { tool_use_id: 'c2', tool_name: 'search', tool_input: { pattern: 'backpressureBytesMax' } },
  })
  const state = `${url}/api/sessions/${session}/state`
  const plan = {
    goal: 'Let a stalled reader cost nothing',
    steps: { lint: 'done', test: 'running', build: 'running' },
  }
  await post(`${state}/plan`, plan, 'PUT')
  await post(`${state}/budget`, { tokens: 18_240, usd: 0.31 }, 'PUT')
}

interface Shot {
  readonly name: string
  readonly colorScheme: 'light' | 'dark'
  readonly width: number
  readonly height: number
  /** Brings in sight what the picture is of. */
  show(page: Page): Promise<void>
}

const failed = async (page: Page) => {
  const panel = page.locator('[data-panel=test]')
  await panel.scrollIntoViewIfNeeded()
  await panel.getByText('FAIL', { exact: true }).waitFor()
  await page.evaluate(`document.querySelector('#main').scrollTo(0, 0)`)
}

const shots: readonly Shot[] = [
  { name: 'panels', colorScheme: 'light', width: 1600, height: 1360, show: failed },
  { name: 'panels-dark', colorScheme: 'dark', width: 1600, height: 1360, show: failed },
  {
    name: 'panels-asks',
    colorScheme: 'light',
    width: 1200,
    height: 640,
    async show(page) {
      await page.getByLabel('Answer to release').fill('4.2.0')
    },
  },
  {
    name: 'panels-search',
    colorScheme: 'light',
    width: 1200,
    height: 520,
    async show(page) {
      await page.goto(`${page.url()}?w=test`)
      const panel = page.locator('[data-panel=test]')
      await panel.scrollIntoViewIfNeeded()
      await panel.getByRole('button', { name: 'Find' }).click()
      await panel.getByRole('searchbox').fill('/number 4\\d/')
      await panel.getByRole('searchbox').press('Enter')
      await panel.locator('.row.current').waitFor()
      await panel.getByText('1 of 10', { exact: true }).waitFor()
      await panel.scrollIntoViewIfNeeded()
    },
  },
  {
    name: 'panels-phone',
    colorScheme: 'light',
    width: 390,
    height: 844,
    async show(page) {
      await page.getByLabel('Answer to release').waitFor()
    },
  },
]

try {
  await buildPanels('dist/panels')
  const hub = runcast('serve', '--port', '0', '--store', 'memory')
  const url = await said(hub, /http:\/\/127\.0\.0\.1:\d+/)
  const session = 'build-42'
  runcast('run', '--hub', url, '--session', 'nightly', '--', 'true')
  const workers = Object.entries({ lint, test, build }).flatMap(([name, command]) => [
    '--worker',
    `${name}=bash -c ${JSON.stringify(command).replaceAll('\\\\', '\\').replaceAll('$', '\\$')}`,
  ])
  const run = runcast('run', '--hub', url, '--session', session, ...workers)
  run.stdout?.resume()
  await agent(url, session)
  await post(`${url}/api/sessions/${session}/workers/release/events`, {
    type: 'client_input_requested',
    data: { request_id: 'r1', prompt: 'Which version number should the release have?' },
  })

  const browser = await chromium.launch({
    executablePath: process.env['RUNCAST_CHROMIUM'] ?? '/usr/bin/chromium',
    args: chromiumArgs,
  })
  for (const shot of shots) {
    const { name, colorScheme, width, height } = shot
    const page = await browser.newPage({ colorScheme, viewport: { width, height } })
    await page.goto(`${url}/s/${session}`)
    // What is out of sight is not drawn, and what has failed moves to the front: the list of workers tells.
    await page.locator('.overview li.failed', { hasText: 'test' }).waitFor({ timeout: 120_000 })
    await shot.show(page)
    await page.screenshot({ path: `${folder}/${name}.png` })
    await page.close()
  }
  await browser.close()
} finally {
  for (const child of children) child.kill()
}
