import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runcast } from '../conformance/adapters/runcast.js'
import { runcastWebSocket } from '../conformance/adapters/runcast-websocket.js'
import { scenarios } from '../conformance/suite.js'

// For the long run, at every byte: RUNCAST_RESUME_STEP=1
const step = Number(process.env['RUNCAST_RESUME_STEP'] ?? 400)
// Sockets on the loopback interface take about 4 MB before a server notices that nobody reads.
const slowBytes = 8_000_000

for (const adapter of [runcast, runcastWebSocket]) {
  for (const scenario of scenarios) {
    // Two starts of a process, which do not depend on how a reader reads.
    if (adapter === runcastWebSocket && scenario.name === 'restart') continue
    t.test(`resuming, ${adapter.name}: ${scenario.name}`, async (t) => {
      const directory = mkdtempSync(join(tmpdir(), 'runcast-resume-'))
      t.teardown(() => rmSync(directory, { recursive: true, force: true }))
      t.strictSame(await scenario.run(adapter, directory, { step, slowBytes }), { result: 'yes' })
    })
  }
}
