/** `npm run packages`: packs `runcast` and `@runcast/client`, and lints what would be published. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

const root = fileURLToPath(new URL('..', import.meta.url))
const shell = process.platform === 'win32'
const folder = mkdtempSync(join(tmpdir(), 'runcast-packages-'))

async function lint(tarball: string): Promise<string[]> {
  const { messages, pkg } = await publint({ pack: { tarball: readFileSync(tarball).buffer }, strict: true })
  return messages.map((message) => formatMessage(message, pkg, { color: false }) ?? message.code)
}

/** @returns what the command said when it failed, else nothing */
function failing(command: string, args: readonly string[]): string[] {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', shell })
  return status === 0 ? [] : [`${args.join(' ')}: ${error?.message ?? ''}${stdout}${stderr}`]
}

try {
  for (const place of ['.', 'packages/client']) {
    const said = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: join(root, place),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      shell,
    })
    const [packed] = JSON.parse(said) as [
      { filename: string; name: string; size: number; entryCount: number },
    ]
    const tarball = join(folder, packed.filename)
    const attw = ['node_modules/@arethetypeswrong/cli/dist/index.js', tarball, '--profile', 'esm-only']
    const faults = [
      ...(await lint(tarball)),
      ...failing(process.execPath, attw),
      ...failing('npm', ['publish', '--dry-run', '--access', 'public', tarball]),
    ]
    for (const fault of faults) console.error(`${packed.name}: ${fault}`)
    if (faults.length > 0) process.exitCode = 1
    else
      console.log(`${packed.name}: ${packed.entryCount} files, ${Math.round(packed.size / 1024)} KiB packed`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
