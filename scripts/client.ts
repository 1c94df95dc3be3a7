/** `npm run build:client`: builds the package `@runcast/client` in `packages/client/dist` from the same `src`. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundleClient } from './client-bundle.js'
import { noticesOf } from './notices.js'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)
const folder = 'packages/client'
const dist = `${folder}/dist`
rmSync(dist, { recursive: true, force: true })

const { metafile } = await bundleClient(dist)
writeFileSync(`${dist}/THIRD-PARTY-NOTICES.txt`, noticesOf(metafile))
copyFileSync('LICENSE', `${folder}/LICENSE`)

const { status } = spawnSync(
  process.execPath,
  ['node_modules/typescript-7/lib/tsc.js', '-p', `${folder}/tsconfig.json`],
  { stdio: 'inherit' },
)
process.exitCode = status ?? 1
