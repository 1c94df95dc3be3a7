import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { freePort } from '../kit/free-port.js'
import { type } from '../kit/terminal.js'
import { until } from '../kit/wait.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** What is typed in a terminal, block by block. */
const blocks = [...readme.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block = '']) => block)

/**
 * @returns a folder with what a clone would have after `npm ci`: the files that git knows, and packages. Without what only
 * tests need, which the README's linter would read, too
 */
function fresh(t: Test): string {
  const cwd = mkdtempSync(join(tmpdir(), 'runcast-readme-'))
  t.teardown(() => rmSync(cwd, { recursive: true, force: true }))
  const left = "':!test' ':!bench' ':!conformance' ':!examples' ':!clients' ':!docs'"
  const copy = `git ls-files -z -co --exclude-standard . ${left} | tar --null --ignore-failed-read -T - -c | tar -x -C '${cwd}'`
  const { status, stderr } = spawnSync('bash', ['-o', 'pipefail', '-c', copy], {
    cwd: root,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`no copy was made: ${stderr}`)
  symlinkSync(join(root, 'node_modules'), join(cwd, 'node_modules'))
  // What is up to date need not be built again.
  if (existsSync(join(root, 'dist'))) cpSync(join(root, 'dist'), join(cwd, 'dist'), { recursive: true })
  return cwd
}

t.test('what the README says is typed from its top to its end, and shows what it says', async (t) => {
  const [installed, started, followed, published, wrapped, state, ...more] = blocks as [
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  t.strictSame(more, [], 'a new block is to be typed here, too')
  t.match(
    installed,
    /npx runcast serve.*\n.*npm install runcast/,
    'of the registry; test/packages.test.ts installs the tarballs',
  )

  const cwd = fresh(t)
  const port = await freePort()
  const at = { cwd, port }
  const [first = ''] = started.split('\n')
  t.match(first, /^npm ci && npm start /)
  // `.ci/run` itself begins with `npm ci` in a fresh clone, and so do all that follow it.
  const hub = type(t, `npm start -- --port ${port}`, at)
  await hub.shows(`Runcast listens on http://127.0.0.1:${port}`)
  await hub.shows('Events are kept in ./runcast-data.')

  const watching = type(t, followed, at)
  await until('it follows', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`)
    return /runcast_subscriptions\S* [1-9]/.test(await answer.text())
  })
  const publishing = type(t, published, at)
  t.equal(await publishing.ended, 0)
  t.match(publishing.shown(), /"accepted":1/)
  await watching.shows(/event: goal_progress\ndata: .*"data":\{"done":0\.5\}/)

  const [tail = '', run = ''] = wrapped.trim().split('\n')
  const tailing = type(t, tail, at)
  await tailing.shows('goal_progress')
  const running = type(t, run, at)
  const code = await running.ended
  // Whether the code is clean is for the linter to say; run ends as it did.
  const failed = /^lint +\| ✗ exited with (\d+)/m.exec(running.shown())?.[1]
  t.equal(code, Number(failed ?? 0), 'the first exit code that is not zero')
  t.match(running.shown(), /session demo, watch it at http:\S+\/s\/demo or with: npx runcast tail demo/)
  t.match(running.shown(), /list +\| src\/cli/)
  t.match(running.shown(), /^list +\| ✓ done/m)
  t.match(running.shown(), /2 commands · .*[\d,]+ lines/)
  await tailing.shows(/"type":"process\.exited".*"worker":"lint"/)
  await tailing.shows(/"type":"process\.exited".*"worker":"list"/)
  const session = async () =>
    (await (await fetch(`http://127.0.0.1:${port}/api/sessions/demo`)).json()) as { status: string }
  t.match(await session(), { status: 'running' }, 'run ends only what it began')

  // A person sees what the command in the background shows before they type the next.
  const lines = state.trim().split('\n')
  const background = lines.findIndex((line) => line.endsWith(' &'))
  t.match(lines[0], /^demo=/)
  const changing = type(t, [...lines.slice(0, background + 1), 'wait'].join('\n'), at)
  await changing.shows(/event: state\.initial\ndata: .*"plan":\{"goal":"release"/)
  const changed = type(t, [lines[0], ...lines.slice(background + 1)].join('\n'), at)
  t.equal(await changed.ended, 0)
  t.match(changed.shown(), /"slices":\{.*"\$session":.*"\$workers":/)
  await changing.shows(
    /event: state\.update\ndata: .*"base":\d+.*\[\{"op":"replace","path":"\/done","value":1\}\].*"cause":\{"type":"linted"\}/,
  )
  for (const [command, wanted] of [
    ['npx runcast tail demo --state', /"plan":\{"goal":"release"/],
    ['npx runcast tail hub --state', /"sessions":\{"demo":/],
  ] as const) {
    t.ok(readme.includes(`\`${command}\``), `${command} is still in the README`)
    const showing = type(t, command, at)
    await showing.shows(wanted)
    await showing.stop()
  }

  // The hints that the hub and run print, as they are printed.
  const hints = [...hub.shown().matchAll(/^ {2}((?:npx )?runcast .*|curl .*)$/gm)].map(
    ([, hint = '']) => hint,
  )
  t.equal(hints.length, 3)
  for (const hint of hints) {
    const typed = type(t, hint.replace(/^runcast /, 'npx runcast '), at)
    if (hint.includes(' run ')) t.equal(await typed.ended, 0, hint)
    else {
      await typed.shows('process.started')
      await typed.stop()
    }
  }
  t.match(await session(), { status: 'running' })
  await hub.stop()
})
