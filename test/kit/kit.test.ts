import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { SimulatedClock } from './clock.js'
import { reset } from './proxy.js'
import { SeededRandom } from './random.js'
import { typescript } from './typescript.js'
import { until } from './wait.js'

t.test('SimulatedClock', async (t) => {
  t.test('runs timers by time, then in the order they were set', async (t) => {
    const clock = new SimulatedClock(0)
    const ran: string[] = []
    clock.after(20, () => ran.push(`b${clock.now()}`))
    clock.after(10, () => ran.push(`a${clock.now()}`))
    clock.after(20, () => ran.push(`c${clock.now()}`))
    clock.after(21, () => ran.push('late'))
    clock.advance(20)
    t.same(ran, ['a10', 'b20', 'c20'])
    t.equal(clock.now(), 20)
    t.equal(clock.next, 21)
    t.equal(clock.timers, 1)
  })

  t.test('agrees with a sorted list over many random timers', async (t) => {
    const clock = new SimulatedClock(0)
    const random = new SeededRandom(7)
    const set: { at: number; number: number }[] = []
    const ran: number[] = []
    for (let number = 0; number < 500; number += 1) {
      const at = random.integer(0, 60)
      const timer = clock.after(at, () => ran.push(number))
      if (random.chance(0.3)) timer.cancel()
      else set.push({ at, number })
    }
    for (let ms = 0; ms < 60; ms += 5) clock.advance(5)
    set.sort((one, other) => one.at - other.at || one.number - other.number)
    t.same(
      ran,
      set.map(({ number }) => number),
    )
    t.equal(clock.timers, 0)
  })

  t.test('ends the turn before time moves on, also after each timer', async (t) => {
    const clock = new SimulatedClock(0)
    const ran: string[] = []
    clock.after(5, () => {
      ran.push('timer')
      clock.defer(() => ran.push(`turn ${clock.now()}`))
    })
    clock.after(5, () => ran.push('next timer'))
    clock.defer(() => clock.defer(() => ran.push('nested')))
    clock.advance(10)
    t.same(ran, ['nested', 'timer', 'turn 5', 'next timer'])
    t.equal(clock.busy, false)
  })

  t.test(
    'lets a timer that is set meanwhile run in the same advance, and forgets a cancelled one',
    async (t) => {
      const clock = new SimulatedClock(0)
      const ran: number[] = []
      const cancelled = clock.after(6, () => ran.push(-1))
      clock.after(5, () => {
        cancelled.cancel()
        clock.after(5, () => ran.push(clock.now()))
        clock.after(6, () => ran.push(-2))
      })
      clock.advance(10)
      t.same(ran, [10])
    },
  )

  t.test('lets what awaits go on between timers', async (t) => {
    const clock = new SimulatedClock(0)
    const rest = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve))
    const ran: number[] = []
    const done = (async () => {
      for (let round = 0; round < 3; round += 1) {
        await rest(10)
        ran.push(clock.now())
      }
    })()
    await clock.pass(30)
    t.same(ran, [10, 20, 30])
    await done
  })
})

t.test('SeededRandom', async (t) => {
  t.test('repeats itself with the same seed and differs with another', async (t) => {
    const draw = (seed: number) => {
      const random = new SeededRandom(seed)
      return [random.id(), random.fraction(), random.integer(1, 6), random.fork().id(8)]
    }
    t.same(draw(1), draw(1))
    t.notSame(draw(1), draw(2))
    t.match(new SeededRandom(3).id(12), /^[A-Za-z0-9_-]{12}$/)
  })

  t.test('stays in its range and reaches every value', async (t) => {
    const random = new SeededRandom(5)
    const seen = new Set<number>()
    for (let draw = 0; draw < 1_000; draw += 1) seen.add(random.integer(1, 6))
    t.same(
      [...seen].sort((a, b) => a - b),
      [1, 2, 3, 4, 5, 6],
    )
    t.ok([random.fraction(), random.fraction()].every((value) => value >= 0 && value < 1))
    t.throws(() => random.pick([]), RangeError)
  })
})

t.test(
  'what a test has started ends when the test is killed',
  { skip: !existsSync('/proc/self/environ') && 'no /proc' },
  async (t) => {
    const started = `
import { spawn } from 'node:child_process'
import { endChildrenWithUs } from ${JSON.stringify(new URL('children.ts', import.meta.url).href)}
endChildrenWithUs('RUNCAST_TEST_KIT')
const stubborn = 'trap "" HUP INT TERM; sleep 1000 & echo $$ $!; wait'
spawn('sh', ['-c', stubborn], { detached: true, stdio: ['ignore', 'inherit', 'ignore'] })
setInterval(() => {}, 1_000)`
    const words = [...typescript, '--input-type=module', '-e', started]
    const test = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => test.kill('SIGKILL'))
    const [said] = (await once(test.stdout, 'data')) as [Buffer]
    const pids = said.toString().trim().split(' ')
    t.equal(pids.length, 2)
    // One that has ended, and that nobody has waited for, has no program any more.
    const alive = () => pids.filter((pid) => existsSync(`/proc/${pid}/exe`))
    t.strictSame(alive(), pids)
    test.kill('SIGKILL')
    await until('both have ended', () => alive().length === 0)
  },
)

t.test('a socket is closed by a reset, also while it is being shut down', async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).resume())
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  for (const shutDown of [false, true]) {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    await once(socket, 'connect')
    const closed = once(socket, 'close')
    if (shutDown) {
      const { _final } = socket
      socket._final = (done) => {
        _final.call(socket, done)
        reset(socket)
      }
      socket.end()
    } else reset(socket)
    await closed
  }
})
