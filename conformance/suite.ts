import type { Adapter, Outcome, Reading, Received, Started, StartOptions } from './adapter.js'
import { CuttingProxy } from './cutting-proxy.js'

export interface Scenario {
  readonly name: string
  readonly about: string
  run(adapter: Adapter, directory: string, extent: Extent): Promise<Outcome>
}

export interface Extent {
  /** Every how many bytes the connection is cut: 1 is each. */
  readonly step: number
  /** How much is published while a reader does not read. */
  readonly slowBytes: number
}

const yes: Outcome = { result: 'yes' }
const no = (why: string): Outcome => ({ result: 'no', why })
const cannot = (why: string): Outcome => ({ result: 'cannot', why })
const keepsNothing = 'keeps nothing for a reader that comes back'

const deadlineMs = 10_000
const quietMs = 300

/** @returns whether it became true within the deadline */
async function until(isTrue: () => boolean, ms = deadlineMs): Promise<boolean> {
  const end = performance.now() + ms
  while (!isTrue()) {
    if (performance.now() > end) return false
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return true
}

const textsOf = (received: readonly Received[]): string[] =>
  received.flatMap((one) => (one.kind === 'message' && one.text !== hello ? [one.text] : []))
const hasGap = (received: readonly Received[]): boolean => received.some(({ kind }) => kind === 'gap')
/** What says that this has happened. */
function done(promise: Promise<void>): () => boolean {
  let isDone = false
  void promise.then(() => {
    isDone = true
  })
  return () => isDone
}
const same = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((text, index) => text === other[index])
const numbered = (first: number, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `message ${first + index}`)

async function publishAll(server: Started, channel: string, texts: readonly string[]): Promise<void> {
  for (const text of texts) await server.publish(channel, text)
}

const hello = 'hello'

/** Waits until readers are joined: each has got a message. Greetings are no messages of the scenario. */
async function join(server: Started, channel: string, readers: readonly Reading[]): Promise<boolean> {
  const end = performance.now() + deadlineMs
  const isJoined = () => readers.every(({ received }) => received.some((one) => one.kind === 'message'))
  while (!isJoined()) {
    if (performance.now() > end) return false
    await server.publish(channel, hello)
    await until(isJoined, 100)
  }
  return true
}

/** Nothing more comes for a while. The only wait for a time: that nothing comes cannot be waited for. */
const quiet = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, quietMs))

function scenario(
  name: string,
  about: string,
  run: (server: Started, adapter: Adapter, extent: Extent) => Promise<Outcome>,
  options: Omit<StartOptions, 'directory'> = {},
): Scenario {
  return {
    name,
    about,
    async run(adapter, directory, extent) {
      const server = await adapter.start({ directory, ...options })
      try {
        return await run(server, adapter, extent)
      } finally {
        await server.close()
      }
    },
  }
}

export const scenarios: readonly Scenario[] = [
  scenario(
    'cut at every byte',
    'A connection is cut after each number of bytes in turn. The reader reconnects from where it was, and has each message once, in order.',
    async (server, { replays, resumes }, { step }) => {
      if (!resumes) return cannot(keepsNothing)
      const texts = numbered(1, 5)
      const proxy = await CuttingProxy.open(server.port)
      try {
        await server.create?.('whole')
        const whole = server.read({ channel: 'whole', port: proxy.port })
        if (!(await join(server, 'whole', [whole]))) return no('a reader that is connected gets nothing')
        const joined = proxy.carried
        await publishAll(server, 'whole', texts)
        await until(() => textsOf(whole.received).length === texts.length)
        const bytes = proxy.carried
        whole.close()
        await whole.closed
        for (let cut = replays ? 1 : joined + 1; cut <= bytes; cut += step) {
          const channel = `cut-${cut}`
          proxy.cutAfter = cut
          await server.create?.(channel)
          const first = server.read({ channel, port: proxy.port })
          const isOver = done(first.closed)
          await server.publish(channel, hello)
          if (!replays && !(await join(server, channel, [first])))
            return no(`cut after ${cut} bytes: not joined`)
          await publishAll(server, channel, texts)
          await until(() => isOver() || textsOf(first.received).length === texts.length)
          first.close()
          await first.closed
          proxy.cutAfter = undefined
          const { position } = first
          const after = position !== undefined && { after: position }
          const second = server.read({ channel, port: proxy.port, ...after })
          const all = () => textsOf([...first.received, ...second.received])
          const isWhole = await until(() => all().length >= texts.length, 3_000)
          second.close()
          await second.closed
          if (!isWhole || !same(all(), texts))
            return no(`cut after ${cut} of ${bytes} bytes: ${all().join(', ')}`)
        }
        return yes
      } finally {
        await proxy.close()
      }
    },
  ),
  scenario(
    'evicted cursor',
    'What follows the position is not retained any more. The reader is told so.',
    async (server, adapter) => {
      if (!adapter.canEvict) return cannot('keeps everything, or cannot be told how much')
      await publishAll(server, 'old', numbered(1, 3))
      const first = server.read({ channel: 'old', port: server.port })
      await until(() => first.position !== undefined && textsOf(first.received).length > 0)
      first.close()
      await first.closed
      if (first.position === undefined) return cannot('gives a reader no position')
      await publishAll(server, 'old', numbered(4, 60))
      const second = server.read({ channel: 'old', port: server.port, after: first.position })
      await until(() => hasGap(second.received) || textsOf(second.received).at(-1) === 'message 63')
      await quiet()
      second.close()
      if (hasGap(second.received)) return yes
      const texts = textsOf(second.received)
      return same(texts, numbered(4, 60))
        ? cannot('still had everything')
        : no(`${texts.length} of 60 messages, and no word`)
    },
    { retain: 10 },
  ),
  scenario(
    'restart',
    'The server is killed (`SIGKILL`), or stopped where it runs within the suite, and started again. The reader resumes from its position, and gets what follows it.',
    async (server) => {
      if (server.restart === undefined) return cannot('keeps nothing over a restart')
      await publishAll(server, 'again', numbered(1, 3))
      const first = server.read({ channel: 'again', port: server.port })
      await until(() => textsOf(first.received).length === 3)
      await publishAll(server, 'again', numbered(4, 3))
      await until(() => textsOf(first.received).length === 6)
      const { position } = first
      first.close()
      await first.closed
      await publishAll(server, 'again', numbered(7, 2))
      const how = await server.restart()
      await publishAll(server, 'again', numbered(9, 2))
      const second = server.read({ channel: 'again', port: server.port, after: position })
      await until(() => textsOf(second.received).at(-1) === 'message 10')
      second.close()
      const texts = textsOf(second.received)
      if (!same(texts, numbered(7, 4))) return no(`${how}; got ${texts.join(', ') || 'nothing'}`)
      return how === 'killed' ? yes : { result: 'yes', why: 'after a clean stop; it cannot be killed here' }
    },
    { restarts: true },
  ),
  scenario(
    'late join in mid-text',
    'A reader joins while a text is being published in pieces. It has the whole text in the end.',
    async (server, { replays }) => {
      if (!replays) return cannot('a reader gets only what is published after it has joined')
      await publishAll(server, 'text', ['The ', 'quick ', 'brown '])
      const late = server.read({ channel: 'text', port: server.port })
      await until(() => textsOf(late.received).join('').length >= 16, 1_000)
      await publishAll(server, 'text', ['fox'])
      await until(() => textsOf(late.received).join('').endsWith('fox'))
      late.close()
      const text = textsOf(late.received).join('')
      return text === 'The quick brown fox' ? yes : no(`has “${text}”`)
    },
  ),
  scenario(
    'two tabs',
    'Two readers of one channel; one is cut off and resumes. Both have each message once.',
    async (server, { resumes }) => {
      if (!resumes) return cannot(keepsNothing)
      await server.create?.('tabs')
      const one = server.read({ channel: 'tabs', port: server.port })
      const other = server.read({ channel: 'tabs', port: server.port })
      if (!(await join(server, 'tabs', [one, other]))) return no('a reader that is connected gets nothing')
      await publishAll(server, 'tabs', numbered(1, 2))
      await until(() => [one, other].every(({ received }) => textsOf(received).length === 2))
      other.close()
      await other.closed
      await publishAll(server, 'tabs', numbered(3, 3))
      const back = server.read({ channel: 'tabs', port: server.port, after: other.position })
      const both = () => [textsOf(one.received), textsOf([...other.received, ...back.received])]
      await until(() => both().every((texts) => texts.length >= 5))
      await quiet()
      one.close()
      back.close()
      const wrong = both().find((texts) => !same(texts, numbered(1, 5)))
      return wrong === undefined ? yes : no(`one has ${wrong.join(', ')}`)
    },
  ),
  scenario(
    'filter changed in mid-resume',
    'A reader resumes with another filter. It has what the new filter lets through after its position, each once.',
    async (server, { canFilter }) => {
      if (!canFilter) return cannot('has no filters within a channel')
      await publishAll(server, 'filter', ['a1', 'b1', 'a2', 'b2'])
      const first = server.read({ channel: 'filter', port: server.port, only: ['a'] })
      await until(() => textsOf(first.received).length === 2)
      first.close()
      await first.closed
      await publishAll(server, 'filter', ['a3', 'b3', 'a4', 'b4'])
      const second = server.read({ channel: 'filter', port: server.port, after: first.position, only: ['b'] })
      await until(() => textsOf(second.received).at(-1) === 'b4')
      await quiet()
      second.close()
      const texts = textsOf([...first.received, ...second.received])
      return same(texts, ['a1', 'a2', 'b3', 'b4']) ? yes : no(`got ${texts.join(', ')}`)
    },
  ),
  scenario(
    'expired token',
    'A token expires in mid-stream: the server ends the connection, and the token opens no other. The reader goes on with a new one, and has each message once.',
    async (server) => {
      if (server.token === undefined) return cannot('has no tokens of its own')
      const port = server.port
      const texts: string[] = []
      const publish = async (): Promise<void> => {
        const text = `message ${texts.length + 1}`
        texts.push(text)
        await server.publish('expiry', text)
      }
      await publish()
      // On a busy machine the token may expire before the reader has joined: the next one lives longer.
      for (let lifeMs = 500; lifeMs < deadlineMs; lifeMs *= 2) {
        const token = await server.token(lifeMs)
        const first = server.read({ channel: 'expiry', port, token })
        const isOver = done(first.closed)
        await until(() => isOver() || textsOf(first.received).length > 0)
        if (textsOf(first.received).length === 0) continue
        const end = performance.now() + lifeMs + deadlineMs
        while (!isOver() && performance.now() < end) {
          await publish()
          await until(isOver, 50)
        }
        first.close()
        if (!isOver()) return no('reads on after its token has expired')
        await publish()
        const refused = server.read({ channel: 'expiry', port, token, after: first.position })
        const isRefused = await until(done(refused.closed))
        refused.close()
        if (!isRefused || textsOf(refused.received).length > 0) return no('an expired token still reads')
        await publish()
        const fresh = await server.token(60_000)
        const second = server.read({ channel: 'expiry', port, token: fresh, after: first.position })
        const all = () => textsOf([...first.received, ...second.received])
        await until(() => all().length >= texts.length)
        await quiet()
        second.close()
        return same(all(), texts) ? yes : no(`got ${all().join(', ')} of ${texts.length}`)
      }
      return no('a reader with a token gets nothing')
    },
    { tokens: true },
  ),
  scenario(
    'failed end',
    'A channel ends as failed while a reader is away. The reader that resumes is told, and does not take it for success.',
    async (server) => {
      if (server.fail === undefined) return cannot('has no end that says that something failed')
      await publishAll(server, 'end', numbered(1, 2))
      const first = server.read({ channel: 'end', port: server.port })
      await until(() => textsOf(first.received).length === 2)
      first.close()
      await first.closed
      await server.fail('end')
      const second = server.read({ channel: 'end', port: server.port, after: first.position })
      const ended = () => second.received.find(({ kind }) => kind === 'ended')
      await until(() => ended() !== undefined)
      second.close()
      const end = ended()
      return end?.kind === 'ended' && end.failed ? yes : no('was not told of the failure')
    },
  ),
  scenario(
    'slow reader',
    'A reader stops reading while much is published, by default 30 MB, and reads on. It has each message, or is told that some are missing.',
    async (server, { resumes }, { slowBytes }) => {
      await server.create?.('slow')
      const reader = server.read({ channel: 'slow', port: server.port })
      if (!(await join(server, 'slow', [reader]))) return no('a reader that is connected gets nothing')
      if (reader.pause === undefined || reader.resume === undefined) {
        reader.close()
        return cannot('its client cannot stop reading')
      }
      await server.publish('slow', 'first')
      await until(() => textsOf(reader.received).length === 1)
      reader.pause()
      const filling = 'x'.repeat(100_000)
      const count = Math.ceil(slowBytes / filling.length)
      for (let number = 0; number < count; number++) await server.publish('slow', `${number} ${filling}`)
      reader.resume()
      let last = reader
      let all = () => [...reader.received]
      const isThrough = () =>
        textsOf(all())
          .at(-1)
          ?.startsWith(`${count - 1} `) === true
      const isOver = done(reader.closed)
      await until(() => isThrough() || isOver(), 20_000)
      if (!isThrough() && isOver() && resumes) {
        last = server.read({ channel: 'slow', port: server.port, after: reader.position })
        all = () => [...reader.received, ...last.received]
        await until(isThrough, 20_000)
      }
      last.close()
      reader.close()
      const got = textsOf(all()).length
      if (got === count + 1) return yes
      return hasGap(all()) ? yes : no(`${got} of ${count + 1} messages, and no word`)
    },
  ),
]
