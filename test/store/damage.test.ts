import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { checkFile } from '../../src/store/check-file.js'
import { typescript } from '../kit/typescript.js'
import { fillSample, type Outcome, restartSystem } from './damage-cases.js'

// For the long run: RUNCAST_DAMAGES=10000 node --import tsx test/store/damage.test.ts; RUNCAST_SEED repeats one.
const damages = Number(process.env['RUNCAST_DAMAGES'] ?? 120)
const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
t.setTimeout(60_000 + 1_000 * damages)

const folder = mkdtempSync(join(tmpdir(), 'runcast-damage-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const child = fileURLToPath(new URL('damage-child.ts', import.meta.url))

type Said = { readonly number: number } & Partial<Outcome> & {
    readonly damage?: string
    readonly wrong?: string
    readonly done?: boolean
  }

/** Runs one process after the other, each from the damage on that the one before has not survived. */
async function* sayings(sample: string, pristine: string, count: number): AsyncGenerator<Said> {
  let next = 1
  while (next <= count) {
    const args = [sample, join(folder, 'damaged'), pristine, `${seed}`, `${next}`, `${count}`]
    const process_ = spawn(process.execPath, [...typescript, child, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    process_.stderr.on('data', (data: Buffer) => (stderr = `${stderr}${data.toString()}`.slice(-500)))
    const exit = new Promise<string>((resolve) =>
      process_.once('exit', (code, signal) => resolve(signal ?? `${code}`)),
    )
    let isDone = false
    let at = next
    for await (const line of createInterface({ input: process_.stdout })) {
      const said = JSON.parse(line) as Said
      if (said.done === true) isDone = true
      else {
        at = said.number
        yield said
      }
    }
    const how = await exit
    if (isDone) return
    yield { number: at, wrong: `the process ended with ${how}: ${stderr}` }
    next = at + 1
  }
}

t.test(`a damaged file gives right answers or documented errors (RUNCAST_SEED=${seed})`, async (t) => {
  const pristine = join(folder, 'pristine')
  const open = await fillSample(pristine)
  // As a process that was killed leaves it.
  const killed = join(folder, 'killed')
  cpSync(pristine, killed, { recursive: true })
  await open.close()
  const restarted = join(folder, 'restarted')
  cpSync(pristine, restarted, { recursive: true })
  restartSystem(restarted)
  const samples = [pristine, killed, restarted]
  const counts = { untouched: 0, repaired: 0, refused: 0, hurt: 0, hurtMost: 0 }
  for (const sample of samples) {
    const wrong: string[] = []
    let name = ''
    for await (const said of sayings(sample, pristine, Math.ceil(damages / samples.length))) {
      if (said.damage !== undefined) name = said.damage
      else if (said.wrong !== undefined) wrong.push(`${said.number} (${name}): ${said.wrong}`)
      else if (said.refused !== undefined) counts.refused++
      else {
        const hurt = said.hurt?.length ?? 0
        if (said.repaired) counts.repaired++
        if (hurt > 0) counts.hurt++
        else counts.untouched++
        counts.hurtMost = Math.max(counts.hurtMost, hurt)
      }
    }
    t.strictSame(wrong, [], 'none of them is wrong or a crash')
  }
  t.comment(JSON.stringify(counts))
  t.ok(
    counts.repaired > 0 && counts.hurt > 0 && counts.refused > 0 && counts.untouched > 0,
    'all ends are met',
  )
})

t.test('a table that is empty by its root alone, or by its depth alone, is damaged', async (t) => {
  const directory = t.testdir()
  await (await fillSample(directory)).close()
  const path = join(directory, 'data.lmdb')
  const whole = readFileSync(path)
  t.strictSame(checkFile(path, true).faults, [])
  // Nothing is left of removed sessions. The record of a table has its depth at 6, and the number of its root page at 40.
  const name = 'left\0'
  for (const place of [6, 40, 47]) {
    const damaged = Buffer.from(whole)
    for (let at = whole.indexOf(name); at !== -1; at = whole.indexOf(name, at + 1)) {
      damaged.writeUInt8(whole.readUInt8(at + name.length + place) ^ 1, at + name.length + place)
    }
    writeFileSync(path, damaged)
    t.match(checkFile(path, true).faults, [
      { table: 'left', kind: 'head', reason: 'it is empty, and it is not' },
    ])
  }
})

t.test('a root that leads to one of the pages below it loses all the others, and says so', async (t) => {
  const directory = t.testdir()
  await (await fillSample(directory)).close()
  const path = join(directory, 'data.lmdb')
  const whole = readFileSync(path)
  const name = 'slices\0'
  const damaged = Buffer.from(whole)
  const pageBytes = 4_096
  for (let at = whole.indexOf(name); at !== -1; at = whole.indexOf(name, at + 1)) {
    const root = at + name.length + 40
    const branch = Number(whole.readBigUInt64LE(root)) * pageBytes + 24
    // The first entry of a branch page has the number of the page in its first four bytes.
    if (whole.readUInt16LE(branch - 6) !== 1) continue
    damaged.writeBigUInt64LE(BigInt(whole.readUInt32LE(branch + whole.readUInt16LE(branch))), root)
  }
  t.notSame(damaged, whole)
  writeFileSync(path, damaged)
  const { faults } = checkFile(path, true)
  t.ok(
    faults.some(
      ({ table, kind, from, to }) => table === 'slices' && kind === 'page' && (from ?? to) === undefined,
    ),
    JSON.stringify(faults),
  )
})
