/**
 * Runs tap and says the outcome in one last line: `N passed, N failed, N skipped`.
 *
 * Arguments go to tap as they are (`npm test -- test/hub/hub.test.ts`); `--nodes` stands for the files that are run on
 * every version of Node. A file that passes is one line of output and its skipped tests; a file that fails is shown
 * whole. The exit code is tap's.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { endChildrenWithUs } from '../test/kit/children.js'

const root = fileURLToPath(new URL('..', import.meta.url))
/** What meets the machine: sockets, files, processes and addons. */
const onEveryNode = [
  'test/transport/*.test.ts',
  'test/store/store.test.ts',
  'test/server/{links/*,mount*}.test.ts',
  'test/integration/client.test.ts',
]
const args = process.argv.slice(2).flatMap((arg) => (arg === '--nodes' ? onEveryNode : arg))
endChildrenWithUs('RUNCAST_TEST_RUN')
const tapCommand = 'node_modules/tap/dist/esm/run.mjs'
// What tap would load before each file: its own loader takes 5 s of CPU longer than ours for a file that imports a hub, and
// no test replaces modules. `npm run coverage` runs tap with both, because tap finds lines again only through its own loader.
const without = ['--plugin=!@tapjs/typescript', '--plugin=!@tapjs/mock']
const loaders = ['--node-arg=--import=./test/kit/typescript.mjs', '--node-arg=--import=./test/kit/file.ts']
await buildTap()
const tap = spawn(process.execPath, [tapCommand, '--reporter=tap', ...without, ...loaders, ...args], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tap.kill(signal))

/** Builds tap without what is not loaded, once an installation. tap itself would do so after it has begun to run files. */
async function buildTap(): Promise<void> {
  const built = await readFile(`${root}node_modules/@tapjs/test/test-built/dist/esm/index.js`, 'utf8')
  if (!/@tapjs\/(typescript|mock)/.test(built)) return
  console.log('# building tap without its loaders, once')
  const building = spawn(process.execPath, [tapCommand, 'build', ...without], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(building, 'exit')
  if (code !== 0) throw new Error(`tap build ended with ${code}`)
}

/** What passed says nothing about why the file failed. */
function worthShowing(line: string): boolean {
  return !/^\s*(ok \d|1\.\.|$)/.test(line) || / # (SKIP|TODO)\b/i.test(line)
}

const counts = { pass: 0, fail: 0, skip: 0, todo: 0 }
let counted = false
let file: string[] = []
let failed = false

for await (const line of createInterface({ input: tap.stdout })) {
  if (line.startsWith('# {')) {
    counted = true
    for (const [, name, count] of line.matchAll(/(\w+): (\d+)/g)) {
      if (name !== undefined && name in counts) counts[name as keyof typeof counts] = Number(count)
    }
  } else if (line.startsWith('# Subtest')) {
    file = []
    failed = false
  } else if (line.startsWith('ok ')) {
    console.log(line)
    for (const skipped of file.filter((text) => / # (SKIP|TODO)\b/i.test(text))) console.log(skipped)
    file = []
  } else if (line.startsWith('not ok ')) {
    failed = true
    console.log([...file.filter(worthShowing), line].join('\n'))
    file = []
  } else if (failed || !/^\s/.test(line)) {
    if (!/^(TAP version|1\.\.|# No coverage|$)/.test(line)) console.log(line)
  } else {
    file.push(line)
  }
}

const code = tap.exitCode ?? (await new Promise<number>((done) => tap.on('exit', (exit) => done(exit ?? 1))))
// Without its totals, tap did not get as far as counting.
if (!counted && code !== 0) counts.fail = 1
console.log(`${counts.pass} passed, ${counts.fail} failed, ${counts.skip + counts.todo} skipped`)
process.exitCode = code
