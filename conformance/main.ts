// npm run conformance [NAME…] prints what each server does in each scenario. RESUME_STEP=10 cuts at every tenth byte only;
// RESUME_SLOW_MB=8 publishes 8 MB to the slow reader; RESUME_DOCS=1 writes the table to docs/resume.md.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Adapter, Outcome } from './adapter.js'
import { betterSse } from './adapters/better-sse.js'
import { durableStreams } from './adapters/durable-streams.js'
import { nchan } from './adapters/nchan.js'
import { resumableStream } from './adapters/resumable-stream.js'
import { runcast } from './adapters/runcast.js'
import { runcastWebSocket } from './adapters/runcast-websocket.js'
import { socketIo } from './adapters/socket-io.js'
import { type Scenario, scenarios } from './suite.js'

// Servers within this process may log; only the table goes to the output.
console.log = () => undefined

const adapters: readonly Adapter[] = [
  runcast,
  runcastWebSocket,
  durableStreams,
  resumableStream,
  nchan,
  socketIo,
  betterSse,
]
const words = process.argv.slice(2)
const step = Number(process.env['RESUME_STEP'] ?? 1)
const slowBytes = Number(process.env['RESUME_SLOW_MB'] ?? 30) * 1_000_000

async function outcomeOf(adapter: Adapter, one: Scenario): Promise<Outcome> {
  const missing = adapter.missing?.()
  if (missing !== undefined) return { result: 'cannot', why: missing }
  const directory = mkdtempSync(join(tmpdir(), 'resume-'))
  try {
    return await one.run(adapter, directory, { step, slowBytes })
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
const cuts = step === 1 ? 'at every byte' : `at the first byte and every ${step}th after it`
const how = `This run cut ${cuts}, counted from the join where a server replays nothing. It published ${slowBytes / 1_000_000} MB to the slow reader.`
const table = [how, '', line(head), line(head.map(() => '---')), ...rows.map(line), '', ...notes].join('\n')
process.stdout.write(`${table}\n`)
if (process.env['RESUME_DOCS'] !== undefined) {
  const page = new URL('../docs/resume.md', import.meta.url)
  const [before = '', after = ''] = readFileSync(page, 'utf8').split(
    /(?<=<!-- resume -->\n)[^]*(?=<!-- \/resume -->)/,
  )
  writeFileSync(page, `${before}\n${table}\n\n${after}`)
}
process.exit(0)
