/** Compiles `src` into `dist`, bundles the panels page and the MCP SDK, and makes what `package.json` names under `bin` executable. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { noticesOf } from './notices.js'
import { buildPanels } from './panels.js'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)

const { status } = spawnSync(
  process.execPath,
  ['node_modules/typescript-7/lib/tsc.js', '-p', 'tsconfig.build.json'],
  {
    stdio: 'inherit',
  },
)
if (status !== 0) process.exit(status ?? 1)

// What was compiled from a file that has moved since would be packed with the rest.
for (const path of readdirSync('dist', { recursive: true, encoding: 'utf8' })) {
  const [, source] = /^(?!panels\W)(.+?)(?:\.d\.ts|\.js)(?:\.map)?$/.exec(path) ?? []
  if (source === undefined || ['.ts', '.tsx'].some((end) => existsSync(`src/${source}${end}`))) continue
  rmSync(`dist/${path}`)
}

// The SDK and its schemas are 16 MB when they are installed, and one file of them is used by one command.
const sdk = 'dist/cli/mcp/mcp-protocol.js'
const { metafile } = await build({
  entryPoints: ['src/cli/mcp/mcp-protocol.ts'],
  outfile: sdk,
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  metafile: true,
  logLevel: 'error',
})
rmSync(`${sdk}.map`, { force: true })
const { outputs } = await buildPanels('dist/panels')
writeFileSync(
  'dist/THIRD-PARTY-NOTICES.txt',
  noticesOf({ inputs: {}, outputs: { ...outputs, ...metafile.outputs } }),
)

const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: Record<string, string> }
for (const file of Object.values(bin)) {
  // `npx runcast` inside a clone runs the file itself; tsc writes it without the right to be run.
  chmodSync(file, 0o755)
}
