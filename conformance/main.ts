// npm run conformance [NAME…] prints what each server does in each scenario. RESUME_STEP=10 cuts at every tenth byte only;
// RESUME_DOCS=1 writes the table to docs/resume.md.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { durableStreams } from './adapters/durable-streams.js'
import { nchan } from './adapters/nchan.js'
import { runcast } from './adapters/runcast.js'
import { socketIo } from './adapters/socket-io.js'
import { type Adapter, type Outcome, type Scenario, scenarios } from './suite.js'

// Servers within this process may log; only the table goes to the output.
console.log = () => undefined

const adapters: readonly Adapter[] = [runcast, durableStreams, nchan, socketIo]
const words = process.argv.slice(2)
const step = Number(process.env['RESUME_STEP'] ?? 1)

async function outcomeOf(adapter: Adapter, one: Scenario): Promise<Outcome> {
  const missing = adapter.missing?.()
  if (missing !== undefined) return { result: 'cannot', why: missing }
  const directory = mkdtempSync(join(tmpdir(), 'resume-'))
  try {
    return await one.run(adapter, directory, { step })
  } catch (error) {
    return { result: 'no', why: error instanceof Error ? error.message : String(error) }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const chosen = adapters.filter(
  ({ name }) => words.length === 0 || words.some((word) => name.toLowerCase().includes(word.toLowerCase())),
)
const notes: string[] = []
const rows: string[][] = []
for (const one of scenarios) {
  const row = [one.name]
  for (const adapter of chosen) {
    const { result, why } = await outcomeOf(adapter, one)
    row.push(result)
    if (why !== undefined) notes.push(`- ${one.name}, ${adapter.name}: ${why}`)
    process.stderr.write(`${one.name} · ${adapter.name}: ${result}${why === undefined ? '' : ` (${why})`}\n`)
  }
  rows.push(row)
}
const head = ['scenario', ...chosen.map(({ name }) => name)]
const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
const table = [line(head), line(head.map(() => '---')), ...rows.map(line), '', ...notes].join('\n')
process.stdout.write(`${table}\n`)
if (process.env['RESUME_DOCS'] !== undefined) {
  const page = new URL('../docs/resume.md', import.meta.url)
  const [before = '', after = ''] = readFileSync(page, 'utf8').split(
    /(?<=<!-- resume -->\n)[^]*(?=<!-- \/resume -->)/,
  )
  writeFileSync(page, `${before}\n${table}\n\n${after}`)
}
process.exit(0)
