import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runcast } from '../conformance/adapters/runcast.js'
import { scenarios } from '../conformance/suite.js'

// For the long run, at every byte: RUNCAST_RESUME_STEP=1
const step = Number(process.env['RUNCAST_RESUME_STEP'] ?? 150)

for (const scenario of scenarios) {
  t.test(`resuming: ${scenario.name}`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'runcast-resume-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    t.strictSame(await scenario.run(runcast, directory, { step }), { result: 'yes' })
  })
}
