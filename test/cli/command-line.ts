import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running `runcast …`. */
export interface Running {
  readonly process: ChildProcessWithoutNullStreams
  readonly finished: Promise<Finished>
  /** Resolves once `text` has come on either output. Rejects when the process ends without it. */
  says(text: string): Promise<void>
  /** What has come on stdout. */
  output(): string
}

export interface CommandLine {
  /** The program, for Node. */
  readonly main: string
  /** @param files how many it may open; as many as this process may, unless given */
  start(words: readonly string[], env?: NodeJS.ProcessEnv, files?: number): Running
  run(words: readonly string[], env?: NodeJS.ProcessEnv): Promise<Finished>
  remove(): void
}

/** The command line in one file, which starts in a third of the time that compiling on the fly takes. */
export async function buildCommandLine(): Promise<CommandLine> {
  // As deep in the clone as `dist/cli`, so that it finds `package.json` and the packages.
  const folder = `${root}.tap/cli-${process.pid}`
  await build({
    entryPoints: [`${root}src/cli/main.ts`],
    outdir: folder,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const clean = { ...process.env }
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'RUNCAST_HUB']) delete clean[name]

  const children = new Set<ChildProcessWithoutNullStreams>()
  const start = (words: readonly string[], env: NodeJS.ProcessEnv = {}, files?: number): Running => {
    const command = [process.execPath, `${folder}/main.js`, ...words]
    const bounded = files === undefined ? [] : ['sh', '-c', `ulimit -n ${files} && exec "$0" "$@"`]
    const [program = '', ...args] = [...bounded, ...command]
    const child = spawn(program, args, { env: { ...clean, ...env } })
    children.add(child)
    child.on('exit', () => children.delete(child))
    const texts = { stdout: '', stderr: '' }
    const looks = new Set<() => void>()
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        texts[name] += text
        for (const look of looks) look()
      })
    }
    const finished = new Promise<Finished>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => resolve({ code, signal, ...texts }))
    })
    return {
      process: child,
      finished,
      output: () => texts.stdout,
      says(text) {
        return new Promise((resolve, reject) => {
          const look = (): void => {
            if (!texts.stdout.includes(text) && !texts.stderr.includes(text)) return
            looks.delete(look)
            resolve()
          }
          looks.add(look)
          look()
          child.on('close', () => reject(new Error(`ended without saying ${text}: ${texts.stderr}`)))
        })
      },
    }
  }
  return {
    main: `${folder}/main.js`,
    start,
    run(words, env) {
      const running = start(words, env)
      running.process.stdin.end()
      return running.finished
    },
    remove() {
      for (const child of children) child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
