import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Test } from 'tap'
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

/** Puts the package where the examples find it, from the present sources. */
export async function installRuncast(): Promise<void> {
  const folder = `${here}node_modules/runcast`
  rmSync(folder, { recursive: true, force: true })
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

export interface App {
  readonly origin: string
  /** What it has written so far. */
  readonly output: () => string
  /** Asks it to end. @returns its code once it has */
  end(): Promise<number | null>
}

export interface AppOptions {
  /** What runs it: Node unless given. */
  readonly command?: readonly string[]
  /** By path. */
  readonly files: Readonly<Record<string, string>>
  readonly main: string
}

/** Runs an application in a folder and a process of its own, until the test ends. */
export async function start(
  t: Test,
  { command = [process.execPath], files, main }: AppOptions,
): Promise<App> {
  const folder = join(here, '.apps', `${main.replace(/\W/g, '-')}-${process.pid}`)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const port = await freePort()
  const [program = '', ...words] = command
  const child = spawn(program, [...words, main], {
    cwd: folder,
    env: { ...process.env, PORT: String(port), RUNCAST_SECRET: secret, NEXT_TELEMETRY_DISABLED: '1' },
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
      return (await fetch(`${origin}/hello`).catch(() => undefined))?.ok === true
    },
    90_000,
  ).catch((error: unknown) => {
    throw new Error(`${main}: ${String(error)}\n${output}`)
  })
  return {
    origin,
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
