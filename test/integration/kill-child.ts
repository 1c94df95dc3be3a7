// A whole hub that trims all the time, and says when its store begins to trim or to remove.
import { writeSync } from 'node:fs'
import { createHub, openStore, serve } from '../../src/index.js'
import { systemClock } from '../../src/lib/clock.js'
import type { Store } from '../../src/store/store.js'

const [directory = '', port = ''] = process.argv.slice(2)
const say = (line: string) => void writeSync(1, `${line}\n`)
const store = await openStore({ directory })
/** Calls of the store that write in several steps, told as they begin. */
const told = new Proxy(store, {
  get(of, name) {
    const value: unknown = Reflect.get(of, name)
    if (typeof value !== 'function') return value
    return (...given: unknown[]) => {
      if (name === 'trim' || name === 'remove') say(name)
      return Reflect.apply(value, of, given) as unknown
    }
  },
}) satisfies Store
const minute = 60_000
const hub = createHub({
  store: told,
  retention: { sessionEvents: 600 },
  // What is done once a minute is done all the time.
  clock: { ...systemClock, after: (ms, task) => systemClock.after(ms === minute ? 5 : ms, task) },
})
await serve(hub, { port: Number(port) })
say('listens')
