import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Row } from '../scenarios/scenario.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const builds = join(root, 'bench/builds')

/**
 * @param named a `dist` folder, or what git calls a commit
 * @returns the `dist` folder; a commit is built once, in `bench/builds`, with the dependencies that are installed here
 * @throws Error when it is neither, or cannot be built
 */
export function distOf(named: string, progress: (text: string) => void): string {
  if (existsSync(join(named, 'hub/hub.js'))) return resolve(named)
  const commit = commitOf(named)
  const folder = join(builds, commit)
  const dist = join(folder, 'dist')
  // Written last by the build.
  const last = join(dist, 'THIRD-PARTY-NOTICES.txt')
  if (existsSync(last)) return dist
  progress(`building ${named} (${commit}) in ${folder}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const bytes = execFileSync('git', ['archive', '--format=tar', commit], { cwd: root, maxBuffer: 2 ** 30 })
  execFileSync('tar', ['-x', '-C', folder], { input: bytes })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'dir')
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/build.ts'], {
    cwd: folder,
    encoding: 'utf8',
  })
  if (status !== 0 || !existsSync(last)) throw new Error(`--against: ${named} does not build here: ${stderr}`)
  return dist
}

function commitOf(named: string): string {
  const { status, stdout } = spawnSync(
    'git',
    ['rev-parse', '--verify', '--quiet', '--short=12', '--end-of-options', `${named}^{commit}`],
    { cwd: root, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`--against: expected a dist folder or a commit, got ${named}`)
  return stdout.trim()
}

/** A figure of this build that is beyond the other's. */
export interface Regression {
  readonly who: string
  readonly column: string
  readonly cell: string
  readonly now: string
  readonly before: string
}

const spreadPattern = /^[\d.]+ \(([\d.]+)–([\d.]+)\)$/

/**
 * Compares the rows of `runcast…` with those of `against…` for the same cell. Of every figure with brackets less is better.
 *
 * @returns the figures whose least is above the greatest of the other build: where brackets overlap, nothing is said
 */
export function regressionsIn(rows: readonly Row[]): Regression[] {
  return rows.flatMap((row, index) => {
    const who = String(row['who'])
    if (!who.startsWith('against')) return []
    const ours = who.replace('against', 'runcast')
    const now = rows.slice(0, index).findLast((other) => other['who'] === ours)
    if (now === undefined) return []
    return Object.keys(row).flatMap((column) => {
      const [, least] = spreadPattern.exec(String(now[column])) ?? []
      const [, , greatest] = spreadPattern.exec(String(row[column])) ?? []
      if (least === undefined || greatest === undefined || Number(least) <= Number(greatest)) return []
      return [{ who: ours, column, cell: cellOf(row), now: String(now[column]), before: String(row[column]) }]
    })
  })
}

/** @returns the columns before `who`, which say what is measured */
function cellOf(row: Row): string {
  const names = Object.keys(row)
  return names
    .slice(0, names.indexOf('who'))
    .map((name) => `${name} ${row[name]}`)
    .join(', ')
}
