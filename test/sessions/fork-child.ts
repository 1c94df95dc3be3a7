// A hub that forks a session again and again, and says when it begins one and when it has answered.
import { writeSync } from 'node:fs'
import { createHub, openStore } from '../../src/index.js'

const [directory = '', life = ''] = process.argv.slice(2)
const say = (line: string) => void writeSync(1, `${line}\n`)
const hub = createHub({ store: await openStore({ directory }) })
if (hub.find('s') === undefined) {
  const events = Array.from({ length: 5_000 }, (_, index) => ({
    type: 'note',
    data: index + 1,
    key: 'x'.repeat(100),
  }))
  hub.session('s').publish(events)
  await hub.committed('s')
}
for (let number = 0; ; number++) {
  const session = `f${life}-${number}`
  say(`begins ${session}`)
  await hub.forkSession('s', { session })
  say(`done ${session}`)
}
