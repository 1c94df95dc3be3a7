import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import { storeConformance } from '../conformance/store.js'

function aDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-store-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'data')
}

t.test('memory', (t) => {
  storeConformance(t, (t) => {
    const store = memoryStore()
    t.teardown(() => store.close())
    return store
  })
  t.end()
})

t.test('lmdb', (t) => {
  storeConformance(t, (t) => {
    const store = openLmdb({ directory: aDirectory(t) })
    t.teardown(() => store.close())
    return store
  })
  t.end()
})
