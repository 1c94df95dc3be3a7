// A hub that redacts a stored session, and says when it begins to replace events in the store, and when it has.
import { writeSync } from 'node:fs'
import { createHub, openStore } from '../../src/index.js'

const [directory = '', value = ''] = process.argv.slice(2)
const say = (line: string) => void writeSync(1, `${line}\n`)
const store = await openStore({ directory })
const { replace } = store
if (replace === undefined) throw new Error('the store cannot replace events')
Object.assign(store, {
  async replace(...given: Parameters<typeof replace>) {
    say('replaces')
    await replace.apply(store, given)
    say('has replaced')
  },
} satisfies Partial<typeof store>)
const hub = createHub({ masking: { mode: 'off' }, store })
await hub.redact('s', { values: [{ value, kind: 'db-password' }] })
say('done')
await hub.closeStore()
