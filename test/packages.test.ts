import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { openStream } from './kit/served.js'
import { until } from './kit/wait.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))

/** What a front-end may get by the client with all that it needs. Bytes on disk. */
const clientBytesMax = 2 * 1024 * 1024

interface Manifest {
  readonly name: string
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
}

function manifestOf(place: string): Manifest {
  return JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')) as Manifest
}

/** @returns an empty project with the packed package of `place` in it, as `npm install` leaves it */
async function installed(t: Test, place: string, ...flags: readonly string[]): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), 'runcast-project-'))
  t.teardown(() => rm(project, { recursive: true }))
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], {
    cwd: join(root, place),
  })
  const [{ filename }] = JSON.parse(stdout) as [{ readonly filename: string }]
  await writeFile(join(project, 'package.json'), '{ "type": "module", "private": true }')
  await run('npm', ['install', '--no-audit', '--no-fund', ...flags, `./${filename}`], { cwd: project })
  return project
}

async function bytesIn(folder: string): Promise<number> {
  const paths = await readdir(folder, { recursive: true })
  const sizes = await Promise.all(paths.map(async (path) => (await stat(join(folder, path))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

t.test('@runcast/client installs without anything else, small, and connects', async (t) => {
  const project = await installed(t, 'packages/client', '--offline')
  t.same(
    (await readdir(join(project, 'node_modules'))).filter((name) => !name.startsWith('.')),
    ['@runcast'],
  )
  const bytes = await bytesIn(join(project, 'node_modules'))
  t.ok(bytes <= clientBytesMax, `${bytes} bytes`)
  for (const path of ['LICENSE', 'README.md', 'dist/THIRD-PARTY-NOTICES.txt']) {
    t.ok(existsSync(join(project, 'node_modules/@runcast/client', path)), path)
  }
  await symlink(join(root, 'node_modules/react'), join(project, 'node_modules/react'), 'dir')
  t.match(
    await exportsOf(project, '@runcast/client', '@runcast/client/react', '@runcast/client/chat'),
    /connect[^]*useEvents[^]*RuncastChatTransport/,
  )
})

t.test('both packages have one version, and runcast does without the other', async (t) => {
  const [hub, client] = [manifestOf(root), manifestOf(join(root, 'packages/client'))]
  t.equal(client.version, hub.version)
  t.equal(client.dependencies, undefined)
  t.notOk(hub.dependencies?.[client.name])
})

/** @returns the names that the modules export to a program of the project, a line each */
async function exportsOf(project: string, ...modules: readonly string[]): Promise<string> {
  const script = modules.map((name) => `console.log(Object.keys(await import('${name}')).join())`).join('\n')
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: project })
  return stdout
}

const registry = process.env['CI'] !== undefined
t.test(
  'the tarball of runcast installs by itself into an empty project, and npx runcast serves',
  { skip: !registry && 'asks the registry: CI=true npm test -- test/packages.test.ts' },
  async (t) => {
    const project = await installed(t, '.')
    t.match(await exportsOf(project, 'runcast', 'runcast/client'), /createHub[^]*serve[^]*connect/)
    // A group of its own is what a terminal ends by Ctrl-C.
    const npx = spawn('npx', ['runcast', 'serve', '--port', '0'], { cwd: project, detached: true })
    const ended = once(npx, 'exit')
    const group = -(npx.pid ?? Number.NaN)
    t.teardown(() => npx.exitCode ?? npx.signalCode ?? process.kill(group, 'SIGKILL'))
    let said = ''
    for (const stream of [npx.stdout, npx.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
    await until(`it serves: ${said}`, () => /http:\/\/[\d.]+:\d+/.test(said) || npx.exitCode !== null)
    const [url = ''] = /http:\/\/[\d.]+:\d+/.exec(said) ?? []

    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`)
    const frames: string[] = []
    socket.on('message', (data: Buffer) => frames.push(data.toString()))
    await once(socket, 'open')
    socket.send('{"type":"subscribe","sub":1,"topic":"sessions/s"}')
    await until('subscribed', () => frames.some((frame) => frame.includes('"subscribed"')))
    const stream = await openStream(t, `${url}/api/sessions/s/events?all=1`)
    const body = JSON.stringify({ type: 'goal_progress', data: { done: 1 } })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/api/sessions/s/events`, { method: 'POST', headers, body })
    t.equal(answer.status, 200)
    await stream.until(({ data }) => data?.includes('goal_progress') ?? false)
    await until('it has come', () => frames.some((frame) => frame.includes('"goal_progress"')))
    t.equal((await fetch(url, { headers: { accept: 'text/html' } })).status, 200, 'the page')

    process.kill(group, 'SIGINT')
    await ended
    await t.rejects(fetch(url), 'nothing is left of it')
  },
)
