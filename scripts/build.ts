/** Compiles `src` into `dist`, bundles the panels page, and makes what `package.json` names under `bin` executable. */
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { noticesOf } from './notices.js'
import { buildPanels } from './panels.js'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)

const { status } = spawnSync(
  process.execPath,
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
  {
    stdio: 'inherit',
  },
)
if (status !== 0) process.exit(status ?? 1)
writeFileSync('dist/THIRD-PARTY-NOTICES.txt', noticesOf(await buildPanels('dist/panels')))

const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: Record<string, string> }
for (const file of Object.values(bin)) {
  // `npx runcast` inside a clone runs the file itself; tsc writes it without the right to be run.
  chmodSync(file, 0o755)
}
