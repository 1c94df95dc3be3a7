import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { JsonValue } from '../../src/lib/json.js'
import { python, withoutPython } from '../kit/python.js'
import { SeededRandom } from '../kit/random.js'
import { served } from '../kit/served.js'

const script = fileURLToPath(new URL('mirrors.py', import.meta.url))
const seed = Number(process.env.RUNCAST_SEED ?? Math.floor(Math.random() * 2 ** 31))
const clients = 50
const changes = 150

/** JSON text with sorted names, as Python's `json.dumps(sort_keys=True)` has it. */
function canonical(value: JsonValue): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map((item: JsonValue) => canonical(item)).join()}]`
  const names = Object.keys(value).sort()
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical((value as Record<string, JsonValue>)[name] as JsonValue)}`).join()}}`
}

const digest = (value: JsonValue) => createHash('sha256').update(canonical(value)).digest('hex')

t.test(
  `clients of another language equal the hub after each of ${changes} changes (RUNCAST_SEED=${seed})`,
  { skip: withoutPython('websockets', 'aiohttp') ?? false },
  async (t) => {
    const { hub, url } = await served(t)
    const random = new SeededRandom(seed)
    const session = hub.session('mirrored')
    session.setState('plan', { steps: [{ id: 1, done: false }], 'a/b~c': 'ü', note: null })
    session.setState(
      'chat',
      Array.from({ length: 50 }, (_, n) => ({ n, text: `message ${n}` })),
    )

    const child = spawn(python, [script, url, String(clients)], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill())
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    t.equal((await lines.next()).value, 'ready')
    const before = hub.stats()
    const topic = 'sessions/mirrored'
    let changed: ReturnType<typeof hub.submitState>
    const expected: [number, string][] = []
    const note = async () => {
      const { offset } = await changed
      const { slices } = hub.state('sessions/mirrored')
      const shown = Object.fromEntries(Object.entries(slices).filter(([name]) => !name.startsWith('$')))
      expected.push([offset, digest(shown)])
    }
    let plan = { steps: [{ id: 1, done: false }], 'a/b~c': 'ü', note: null as JsonValue }
    let chat = Array.from({ length: 50 }, (_, n) => ({ n, text: `message ${n}` }))
    for (let n = 0; n < changes - 1; n++) {
      switch (random.integer(0, 4)) {
        case 0:
          plan = { ...plan, steps: [...plan.steps, { id: n + 2, done: false }] }
          changed = hub.submitState(topic, 'plan', { value: plan })
          break
        case 1:
          plan = {
            ...plan,
            'a/b~c': `${n} ⇄`,
            note: random.pick<JsonValue>([null, { deep: [n] }, `x${n}`, [n]]),
          }
          changed = hub.submitState(topic, 'plan', { value: plan })
          break
        case 2:
          chat = [{ n: -n - 1, text: 'first' }, ...chat]
          changed = hub.submitState(topic, 'chat', { value: chat })
          break
        case 3:
          chat = chat.filter((_, index) => index !== chat.length >> 1).concat({ n: 1_000 + n, text: 'last' })
          changed = hub.submitState(topic, 'chat', { value: chat })
          break
        default:
          changed = hub.submitState(topic, `small-${n % 3}`, { value: n })
      }
      await note()
      if (random.chance(0.5)) await new Promise(setImmediate)
    }
    changed = hub.submitState(topic, 'done', { value: true })
    await note()

    const histories = JSON.parse((await lines.next()).value as string) as [number, string][][]
    t.equal(histories.length, clients)
    const wrong = histories.filter((history) => JSON.stringify(history) !== JSON.stringify(expected))
    t.equal(wrong.length, 0, `${histories.length - wrong.length} clients equal the hub after every change`)
    if (wrong[0] !== undefined) t.strictSame(wrong[0], expected)

    const after = hub.stats()
    t.equal(after.state.comparisons - before.state.comparisons, changes)
    for (const codec of ['json', 'msgpack', 'sse']) {
      const made = (after.encodings.get(codec) ?? 0) - (before.encodings.get(codec) ?? 0)
      t.ok(made === changes || (codec === 'msgpack' && made === 0), `${made} encodings in ${codec}`)
    }
  },
)
