import { Command, Option } from 'commander'
import { escapeControls } from '../lib/controls.js'
import { EventStreamReader, type StreamEvent } from '../lib/event-stream.js'
import { checkSlices, checkTypes } from '../protocol/check.js'
import { invitesReconnect, quote } from '../protocol/codes.js'
import { readCombinedCursor, readCursor } from '../protocol/cursor.js'
import { type HubEvent, type Mode, modes, type Slices } from '../protocol/frames.js'
import { defaultLimits } from '../protocol/limits.js'
import { isId, parseTopic, type TopicName } from '../protocol/topic.js'
import { exitCodeOf } from './child.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, parseObject, problemOf, reach, reasonOf } from './hub-http.js'
import { hubOf, hubOption, refusing, tokenOption } from './options.js'
import { type Palette, paletteFor, terminalText } from './paint.js'
import { StateLines } from './state-lines.js'
import type { Surroundings } from './surroundings.js'
import { Transcript } from './transcript.js'

interface TailOptions {
  readonly hub: string
  readonly token?: string
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly since?: string
  readonly replay: 'all' | 'none' | 'traits'
  /** Names of slices; `true` for all. */
  readonly state?: readonly string[] | true
  readonly json?: boolean
}

const examples = `
Examples:
  $ runcast tail demo                                  # everything in session demo, including its workers
  $ runcast tail sessions/demo/workers/lint            # one worker
  $ runcast tail demo --types 'process.*,!process.output'
  $ runcast tail demo --mode summary                   # without output and text deltas
  $ runcast tail demo --json | jq 'select(.type == "process.exited")'
  $ runcast tail demo --state                          # also the slices of its state, and their changes
  $ runcast tail demo --state=plan --types '!*'        # one slice, and no events
  $ runcast tail hub --state=sessions                  # the list of sessions, updated live

Topics: sessions/{id}, sessions/{id}/workers/{id}, sessions/{id}/**, and hub, which has only state; an id alone
means sessions/{id}/**. A terminal does not show the hub's own counts; --json does.

The output is readable text on a terminal, and NDJSON in a pipe or file. If the link breaks, tail reconnects by itself and
continues where it was; it reports on stderr if the hub no longer has some of the events. It ends when the session ends.
${exitCodesHelp}`

export function tailCommand(surroundings: Surroundings): Command {
  return new Command('tail')
    .summary('watch a session or one of its workers')
    .description('Shows the events of a session or of one of its workers as they arrive.')
    .argument('<topic>', 'what to watch', topicArgument)
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--types <list>', 'only these types: names, prefix*, !excluded, separated by commas', typesOption)
    .addOption(new Option('--mode <mode>', 'how much to show').choices(modes))
    .option('--since <cursor>', 'continue after this cursor')
    .addOption(
      new Option(
        '--replay <what>',
        'which past events to show first: those that the catalog says, all, or none',
      )
        .choices(['traits', 'all', 'none'])
        .default('traits'),
    )
    .option(
      '--state [slices]',
      'slices of state: names, prefix*, separated by commas; all by default',
      slicesOption,
    )
    .option('--json', 'print NDJSON, even on a terminal')
    .addHelpText('after', examples)
    .action(async (topic: TopicName, options: TailOptions) => {
      process.exitCode = await tail(topic, options, surroundings)
    })
}

async function tail(topic: TopicName, options: TailOptions, surroundings: Surroundings): Promise<number> {
  if (options.since !== undefined) checkCursor(topic, options.since)
  const hub = hubOf(options, surroundings.env)
  const tailing = new Tailing(hub, topic, options, surroundings)
  const restore = surroundings.onSignal((signal) => tailing.interrupt(signal))
  try {
    if (topic.kind === 'hub') await reach(hub, '/api/sessions?limit=1')
    else if ((await lookUpSession(hub, topic.session)) === 'absent')
      tailing.tell(`waiting for session ${topic.session}`)
    return await tailing.toItsEnd()
  } finally {
    restore()
    hub.close()
  }
}

/** How one response ended. */
type Ending =
  | { readonly kind: 'ended' }
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string }

const retryMsMax = 5_000
/** A hub writes a comment every 15 s of silence, unless it is told otherwise. */
const silenceMsMax = 60_000

class Tailing {
  readonly #hub: HubHttp
  readonly #topic: TopicName
  readonly #options: TailOptions
  readonly #surroundings: Surroundings
  readonly #palette: Palette
  readonly #transcript: Transcript | undefined
  readonly #state: StateLines | undefined
  readonly #abort = new AbortController()
  #cursor: string | undefined
  #signal: NodeJS.Signals | undefined
  #away = false
  #attempts = 0
  /** What ended the following for good, as the hub said it on the stream. */
  #last: Ending | undefined

  constructor(hub: HubHttp, topic: TopicName, options: TailOptions, surroundings: Surroundings) {
    const { stdout, stderr, env } = surroundings
    this.#hub = hub
    this.#topic = topic
    this.#options = options
    this.#surroundings = surroundings
    this.#palette = paletteFor(stderr, env)
    this.#cursor = options.since
    if (stdout.isTTY === true && options.json !== true) {
      const palette = paletteFor(stdout, env)
      const transcript = new Transcript(palette, () => stdout.columns ?? Number.POSITIVE_INFINITY)
      this.#transcript = transcript
      this.#state = new StateLines(palette, { columns: () => transcript.room, all: topic.kind === 'all' })
    }
    // Whoever read us has read enough.
    stdout.on('error', () => this.#abort.abort())
  }

  interrupt(signal: NodeJS.Signals): void {
    this.#signal = signal
    this.#abort.abort()
  }

  tell(text: string): void {
    const { stdout, stderr } = this.#surroundings
    if (this.#transcript !== undefined) stdout.write(this.#transcript.end())
    stderr.write(`${this.#palette.dim('runcast:')} ${text}\n`)
  }

  /** @returns the exit code */
  async toItsEnd(): Promise<number> {
    while (!this.#abort.signal.aborted) {
      const ending = await this.#follow()
      if (ending.kind === 'ended') return exitCodes.ok
      if (ending.kind === 'refused') throw new CommandError(exitCodes.hubRefused, ending.reason)
      if (this.#abort.signal.aborted) break
      this.#attempts++
      if (!this.#away)
        this.tell(this.#palette.yellow(`the hub has gone away (${ending.reason}); waiting until it is back`))
      this.#away = true
      await this.#pause(Math.min(retryMsMax, 100 * 2 ** (this.#attempts - 1)))
    }
    if (this.#transcript !== undefined && this.#cursor !== undefined) {
      this.tell(this.#palette.dim(`continue with --since ${this.#cursor}`))
    }
    return this.#signal === undefined ? exitCodes.ok : exitCodeOf(this.#signal)
  }

  async #follow(): Promise<Ending> {
    this.#last = undefined
    const reader = new EventStreamReader((event) => this.#take(event))
    try {
      const incoming = await this.#hub.open(this.#path(), { signal: this.#abort.signal, silenceMsMax })
      if (incoming.kind === 'answer') return endingOf(incoming.answer)
      if (this.#away) this.tell(this.#palette.green('the hub is back'))
      this.#away = false
      for await (const chunk of incoming.body) {
        this.#attempts = 0
        reader.push(chunk)
        this.#cursor = reader.lastId ?? this.#cursor
        await this.#room()
      }
    } catch (error) {
      return this.#last ?? { kind: 'lost', reason: reasonOf(error) }
    }
    return this.#last ?? { kind: 'lost', reason: 'the response ended' }
  }

  #path(): string {
    const { types, mode, replay } = this.#options
    const query = new URLSearchParams()
    if (this.#topic.kind === 'all') query.set('all', '1')
    if (types !== undefined) query.set('types', types.join(','))
    if (mode !== undefined) query.set('mode', mode)
    if (replay !== 'traits') query.set('replay', replay === 'all' ? 'all' : 'false')
    const slices = this.#options.state ?? (this.#topic.kind === 'hub' ? true : undefined)
    if (slices !== undefined) query.set('slices', slices === true ? '*' : slices.join(','))
    if (this.#cursor !== undefined) query.set('after', this.#cursor)
    if (this.#topic.kind === 'hub') return `/api/stream?topic=hub&${query.toString()}`
    const worker = this.#topic.kind === 'worker' ? `/workers/${this.#topic.worker}` : ''
    return `/api/sessions/${this.#topic.session}${worker}/events?${query.toString()}`
  }

  #take({ event, data }: StreamEvent): void {
    if (event.startsWith('hub.')) return this.#control(event, parseObject(data) ?? {})
    if (event === 'complete') this.#last = { kind: 'ended' }
    const { stdout } = this.#surroundings
    if (this.#transcript === undefined) {
      stdout.write(`${escapeControls(data)}\n`)
      return
    }
    const value = parseObject(data) ?? {}
    const time = typeof value['time'] === 'number' ? value['time'] : this.#surroundings.clock.now()
    const worker = typeof value['worker'] === 'string' ? value['worker'] : ''
    if (event === 'state.initial') return this.#begin(time, value['data'] as { readonly slices: Slices })
    stdout.write(
      event === 'state.update'
        ? this.#transcript.lines({ time, worker }, this.#state?.update(value as unknown as HubEvent) ?? [])
        : this.#transcript.show({ type: event, time, worker, data: value['data'] }),
    )
  }

  #begin(time: number, { slices }: { readonly slices: Slices }): void {
    for (const { worker, lines } of this.#state?.begin(slices) ?? []) {
      this.#surroundings.stdout.write(this.#transcript?.lines({ time, worker }, lines) ?? '')
    }
  }

  #control(event: string, { reason, dropped, code }: Readonly<Record<string, unknown>>): void {
    if (event === 'hub.gap') {
      const count = typeof dropped === 'number' ? `${dropped} events` : 'some events'
      this.tell(
        this.#palette.yellow(
          gapTexts[String(reason)] ?? `${count} are missing here (${terminalText(String(reason))})`,
        ),
      )
    } else if (event === 'hub.close' && typeof code === 'number' && !invitesReconnect(code)) {
      this.#last = {
        kind: 'refused',
        reason: `the hub closed the connection: ${terminalText(String(reason))} (${code})`,
      }
    } else if (event === 'hub.unsubscribed') {
      this.#last = { kind: 'refused', reason: terminalText(String(reason)) }
    }
  }

  /** Reads no faster than what is shown can be taken: the hub then sends what it may conflate as one. */
  #room(): Promise<void> {
    const { stdout } = this.#surroundings
    if (!stdout.writableNeedDrain || this.#abort.signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      stdout.once('drain', resolve)
      this.#abort.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#surroundings.clock.after(ms, resolve)
      this.#abort.signal.addEventListener(
        'abort',
        () => {
          timer.cancel()
          resolve()
        },
        { once: true },
      )
    })
  }
}

const gapTexts: Readonly<Record<string, string>> = {
  epoch: 'the hub started anew: what it had not yet sent is gone',
}

function endingOf(answer: Parameters<typeof problemOf>[0]): Ending {
  // What a client that has all of an ended session is told.
  if (answer.status === 204) return { kind: 'ended' }
  const { detail } = problemOf(answer)
  return answer.status >= 500 || answer.status === 429
    ? { kind: 'lost', reason: detail }
    : { kind: 'refused', reason: `the hub refused: ${detail}` }
}

function topicArgument(text: string): TopicName {
  if (text !== 'hub' && isId(text, defaultLimits)) return { kind: 'all', session: text }
  return refusing(() => parseTopic(text, 'topic', defaultLimits))
}

function slicesOption(text: string): readonly string[] {
  return refusing(() =>
    checkSlices(
      text.split(',').map((slice) => slice.trim()),
      defaultLimits,
      'state',
    ),
  )
}

function typesOption(text: string): readonly string[] {
  return refusing(() =>
    checkTypes(
      text.split(',').map((type) => type.trim()),
      defaultLimits,
      'types',
    ),
  )
}

/** @throws CommandError for a cursor of another form than the topic's */
function checkCursor({ kind }: TopicName, text: string): void {
  const isCombined = kind === 'hub'
  const read = isCombined ? readCombinedCursor(text, Number.POSITIVE_INFINITY) : readCursor(text)
  if (read !== undefined) return
  const expected = isCombined ? '<session>=<epoch>:<offset>,…' : 'a cursor <epoch>:<offset>'
  throw new CommandError(exitCodes.usage, `--since: expected ${expected}, got ${quote(text)}`)
}
