import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { circles, misplaced, tooLong } from './kit/imports.js'

const src = fileURLToPath(new URL('../src/', import.meta.url))

t.test(
  'imports point only to folders above and in no circle; the machine is asked only where it may be; no file is long without a reason',
  async (t) => {
    const paths = (await readdir(src, { recursive: true })).filter((path) => /\.tsx?$/.test(path)).toSorted()
    const files = new Map(paths.map((path) => [path.replaceAll('\\', '/'), readFileSync(src + path, 'utf8')]))
    t.ok(files.has('protocol/frames.ts'), 'the sources were found')
    t.strictSame(misplaced(files), [])
    t.strictSame(circles(files), [])
    t.strictSame(tooLong(files), [])
  },
)

t.test('what is misplaced is named', async (t) => {
  const cases: [path: string, text: string, said: string | undefined][] = [
    ['lib/ring.ts', "import type { Offset } from '../protocol/cursor.js'", 'lib/ring.ts imports'],
    [
      'codec/json.ts',
      "export { x } from '../history/ring.js'",
      'codec may import from itself, lib, protocol',
    ],
    ['sessions/sessions.ts', "import type { Feed } from '../delivery/feed.js'", 'sessions may import from'],
    [
      'session/topic.ts',
      "import type { Sessions } from '../sessions/sessions.js'",
      'session may import from',
    ],
    ['hub/hub.ts', "const server = await import('../server/routes.js')", 'hub/hub.ts imports'],
    ['client/dial.ts', "import { Hub } from '../hub/hub.js'", 'client may import from itself, lib, protocol'],
    [
      'panels/page.ts',
      "import { start } from '../protocol/cursor.js'",
      'panels may import from itself, client',
    ],
    ['panels/page.ts', "import { open } from '../client.js'", 'panels may import from itself, client'],
    ['server/routes.ts', "import { main } from '../cli/main.js'", 'server/routes.ts imports'],
    ['server/routes.ts', "import { createHub } from '../index.js'", 'server/routes.ts imports'],
    ['misc/odd.ts', "import '../lib/json.js'", 'misc is not a folder of the design'],
    ['hub/hub.ts', "import uWS from 'uWebSockets.js'", 'only transport/uws*.ts'],
    ['hub/hub.ts', "import { setTimeout } from 'node:timers/promises'", 'ask the Clock'],
    ['hub/hub.ts', "import { nanoid } from 'nanoid'", 'ask the Clock'],
    ['hub/hub.ts', 'const time = Date.now()', 'calls Date.now'],
    ['hub/hub.ts', 'const time = new Date()', 'calls Date'],
    ['server/stream.ts', 'globalThis.setTimeout(() => {}, 1)', 'calls setTimeout'],
    ['store/lmdb.ts', 'f(() => Math.random())', 'calls Math.random'],
    ['server/serve.ts', "import { createHub } from '../hub/hub.js'", undefined],
    ['cli/run.ts', "import { connect } from '../client/client.js'; setTimeout(f, 1)", undefined],
    ['client/view.ts', "import { apply } from '../state/patch.js'", undefined],
    ['transport/uws.ts', "import uWS from 'uWebSockets.js'", undefined],
    ['transport/uws-socket.ts', "import type { WebSocket } from 'uWebSockets.js'", undefined],
    ['lib/clock.ts', 'export const now = () => Date.now()', undefined],
    ['hub/hub.ts', '// Date.now() is not asked\nconst text = "Math.random()"; new Date(0)', undefined],
    ['index.ts', "export { serve } from './server/serve.js'", undefined],
  ]
  for (const [path, text, said] of cases) {
    const found = misplaced(new Map([[path, text]]))
    if (said === undefined) t.strictSame(found, [], `${path}: ${text} is fine`)
    else t.ok(found.length === 1 && found[0]?.includes(said), `${path}: ${text}`, { found })
  }
})

t.test('a file of more than 350 lines says first why it is not split', async (t) => {
  const long = 'const line = 1\n'.repeat(351)
  const files = new Map([
    ['lib/short.ts', 'const line = 1\n'.repeat(350)],
    ['lib/long.ts', long],
    ['lib/reasoned.ts', `// Longer than 350 lines: a table.\n${long}`],
    ['lib/empty.ts', `// Longer than 350 lines: \n${long}`],
    ['lib/late.ts', `import './short.js'\n// Longer than 350 lines: a table.\n${long}`],
  ])
  t.match(tooLong(files), [
    /^lib\/long\.ts has 351 lines/,
    /^lib\/empty\.ts has 352/,
    /^lib\/late\.ts has 353/,
  ])
})

t.test('files that import each other are named, types included', async (t) => {
  const files = new Map([
    ['hub/hub.ts', "import { a } from './handle.js'"],
    ['hub/handle.ts', "import type { b } from '../lib/middle.js'"],
    ['lib/middle.ts', "export { c } from '../hub/hub.js'"],
    ['lib/self.tsx', "import './self.js'"],
    ['lib/fine.ts', "import '../hub/hub.js'; import ts from 'typescript'"],
  ])
  t.strictSame(circles(files), [
    'hub/handle.ts, hub/hub.ts, lib/middle.ts import each other',
    'lib/self.tsx import each other',
  ])
})
