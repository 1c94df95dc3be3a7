import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** The part of V8's profile format that is used here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const linesMax = 25

/** @returns for each profile in the folder, the functions in which most time was spent, themselves only. */
export function summarizeProfiles(dir: string): string {
  const files = readdirSync(dir).filter((file) => file.endsWith('.cpuprofile'))
  return files.map((file) => `${file}\n${summarize(join(dir, file))}`).join('\n\n')
}

function summarize(file: string): string {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile
  const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const micros = new Map<string, number>()
  for (const [at, id] of profile.samples.entries()) {
    const name = names.get(id) ?? '?'
    // Waiting is not work.
    if (name === '(idle)') continue
    micros.set(name, (micros.get(name) ?? 0) + (profile.timeDeltas[at] ?? 0))
  }
  const all = [...micros.values()].reduce((sum, value) => sum + value, 0)
  return [...micros]
    .sort((a, b) => b[1] - a[1])
    .slice(0, linesMax)
    .map(([name, value]) => `${((100 * value) / all).toFixed(1).padStart(6)} %  ${name}`)
    .join('\n')
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)'
  return url === '' ? name : `${name}  ${basename(url)}:${lineNumber + 1}`
}
