// Commits batches over several sessions until it is killed, and tells what it does as it does it.
import { writeSync } from 'node:fs'
import type { Offset } from '../../src/protocol/cursor.js'
import { openLmdb } from '../../src/store/lmdb.js'
import type { SessionBatch } from '../../src/store/store.js'

const [directory, durability, mode] = process.argv.slice(2)
const say = (line: string) => void writeSync(1, `${line}\n`)
const store = openLmdb({
  directory: directory as string,
  durability: durability === 'power' ? 'power' : 'process',
})
const names = ['a', 'b', 'c']
const known = new Map<string, number>()
for (const name of names) known.set(name, (await store.load(name))?.last ?? 0)
const isNew = [...known.values()].every((last) => last === 0)
const text = 'x'.repeat(mode === 'fill' ? 2_000 : 150)
let round = 0
for (;;) {
  round += 1
  const sessions: SessionBatch[] = names.map((session, index) => {
    const first = (known.get(session) ?? 0) + 1
    const count = 1 + ((round * (index + 3)) % 40)
    const last = (first + count - 1) as Offset
    known.set(session, last)
    const events = Array.from({ length: count }, (_, place) => ({
      offset: (first + place) as Offset,
      type: 'note',
      time: 0,
      data: { round, text },
    }))
    const ids = [{ id: `${session}-${first}`, offset: first as Offset }]
    const record = { session, epoch: session, status: 'running', startedAt: 0 } as const
    return { session, last, events, ids, ...(isNew && round === 1 ? { record } : undefined) }
  })
  // What is delivered before it is kept: no later life may give these offsets out again.
  say(`given ${[...known.values()].join(' ')}`)
  try {
    await store.commit({ at: Date.now(), sessions })
    say(`kept ${[...known.values()].join(' ')}`)
  } catch (error) {
    const { kind, message } = error as { kind: string; message: string }
    say(`failed ${kind} ${message}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (const { session, events = [] } of sessions) known.set(session, (events[0]?.offset ?? 1) - 1)
  }
}
