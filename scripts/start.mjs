/**
 * `npm start -- FLAGS`: builds, then is `runcast serve FLAGS` itself.
 *
 * The hub runs in this process, so that Ctrl-C and its exit code are the hub's own, in any shell.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

// A shell between npm and this process may end by the SIGTERM that npm passes on, and tell no one. Milliseconds.
const parentCheckMs = 100
const parent = process.ppid
const watch = setInterval(() => {
  if (process.ppid === parent) return
  clearInterval(watch)
  process.kill(process.pid, 'SIGTERM')
}, parentCheckMs)
watch.unref()
// Without npm the parent may go on purpose, as after `nohup`.
if (process.env.npm_lifecycle_event !== 'start' || process.platform === 'win32') clearInterval(watch)

const build = spawn(
  process.execPath,
  ['--import', 'tsx', fileURLToPath(new URL('build.ts', import.meta.url))],
  { cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: 'inherit' },
)
const forward = (signal) => build.kill(signal)
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
for (const signal of signals) process.on(signal, forward)
const [code, signal] = await new Promise((resolve, reject) => {
  build.on('error', reject).on('exit', (...ended) => resolve(ended))
})
for (const name of signals) process.off(name, forward)
if (code !== 0) process.exit(code ?? 128 + constants.signals[signal])

process.argv.splice(2, 0, 'serve')
await import('../dist/cli/main.js')
