import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Test } from 'tap'
import { bundleClient } from '../../scripts/client-bundle.js'
import { buildPanels } from '../../scripts/panels.js'
import { freePort } from '../kit/free-port.js'
import { secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

/** @returns why an example cannot run here; `false` where what it needs is installed */
export function missing(...packages: readonly string[]): string | false {
  const absent = packages.find((name) => !existsSync(`${here}node_modules/${name}/package.json`))
  return absent === undefined ? false : `no ${absent} in test/frameworks: npm ci --prefix test/frameworks`
}

/** The examples of the guide, by the names that their blocks have. */
export function examples(): ReadonlyMap<string, string> {
  const guide = readFileSync(`${root}docs/guide/in-your-server.md`, 'utf8')
  return new Map(
    [...guide.matchAll(/^```js (\S+)\n(.*?)^```$/gms)].map(([, name = '', text = '']) => [name, text]),
  )
}

/** Where the applications of this process are: test files that run at once do not share a folder. */
const apps = join(here, '.apps', String(process.pid))

/** Puts the package where applications find it, from the present sources; removed at the end of the test. */
export async function installRuncast(t: Test): Promise<void> {
  const folder = `${apps}/node_modules/runcast`
  t.teardown(() => rmSync(apps, { recursive: true, force: true }))
  const sources = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' })
  await build({
    absWorkingDir: root,
    entryPoints: sources
      .filter((path) => path.endsWith('.ts') && !path.startsWith('panels'))
      .map((path) => `src/${path}`),
    outdir: `${folder}/dist`,
    format: 'esm',
    platform: 'node',
    target: 'node20',
  })
  await buildPanels(`${folder}/dist/panels`)
  writeFileSync(`${folder}/package.json`, readFileSync(`${root}package.json`))
}

/** Puts the package for front-ends there. */
export async function installClient(t: Test): Promise<void> {
  const folder = `${apps}/node_modules/@runcast/client`
  t.teardown(() => rmSync(apps, { recursive: true, force: true }))
  await bundleClient(`${folder}/dist`)
  writeFileSync(`${folder}/package.json`, readFileSync(`${root}packages/client/package.json`))
}

export interface App {
  readonly origin: string
  readonly folder: string
  /** What it has written so far. */
  readonly output: () => string
  /** Asks it to end. @returns its code once it has */
  end(): Promise<number | null>
}

export interface AppOptions {
  /** What runs `main`: Node unless given; or all of the words, for a port. */
  readonly command?: readonly string[] | ((port: number) => readonly string[])
  /** By path. */
  readonly files: Readonly<Record<string, string>>
  /** What is run, and the name of its folder. */
  readonly main: string
  readonly env?: Readonly<Record<string, string>>
  /** What it answers once it is there. */
  readonly path?: string
}

/** @returns the files of a folder of the project, as an application has them */
export function filesOf(folder: string): Record<string, string> {
  const paths = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  const own = paths.filter((path) => !/^(node_modules|dist|\.next)\b/.test(path))
  const files = own.filter((path) => statSync(join(root, folder, path)).isFile())
  return Object.fromEntries(files.map((path) => [path, readFileSync(join(root, folder, path), 'utf8')]))
}

/** Runs an application in a folder and a process of its own, until the test ends. */
export async function start(
  t: Test,
  { command = [process.execPath], files, main, env = {}, path = '/hello' }: AppOptions,
): Promise<App> {
  const folder = join(apps, main.replace(/\W/g, '-'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const port = await freePort()
  const [program = '', ...words] = typeof command === 'function' ? command(port) : [...command, main]
  const child = spawn(program, words, {
    cwd: folder,
    env: { ...process.env, PORT: String(port), RUNCAST_SECRET: secret, NEXT_TELEMETRY_DISABLED: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => void (output += text.toString()))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited(child)
    rmSync(folder, { recursive: true, force: true })
  })
  const origin = `http://127.0.0.1:${port}`
  await until(
    'the application answers',
    async () => {
      if (child.exitCode !== null) throw new Error(`${main} ended with ${child.exitCode}:\n${output}`)
      return (await fetch(`${origin}${path}`).catch(() => undefined))?.ok === true
    },
    90_000,
  ).catch((error: unknown) => {
    throw new Error(`${main}: ${String(error)}\n${output}`)
  })
  return {
    origin,
    folder,
    output: () => output,
    end() {
      child.kill('SIGTERM')
      return exited(child)
    },
  }
}

function exited(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode)
  return new Promise((resolve) => child.once('exit', resolve))
}
