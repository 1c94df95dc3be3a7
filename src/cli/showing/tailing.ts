import { escapeControls } from '../../lib/controls.js'
import { EventStreamReader, type StreamEvent } from '../../lib/event-stream.js'
import { isObject } from '../../lib/json.js'
import { invitesReconnect } from '../../protocol/codes.js'
import type { HubEvent, Mode, Slices } from '../../protocol/frames.js'
import type { TopicName } from '../../protocol/topic.js'
import { CommandError, exitCodes } from '../exit-codes.js'
import { type HubHttp, parseObject, problemOf, reasonOf } from '../hub-http.js'
import { exitCodeOf } from '../running/child.js'
import type { Since } from '../since.js'
import type { Surroundings } from '../surroundings.js'
import type { Grep } from './grep.js'
import { formatCount, type Palette, paletteFor, terminalText } from './paint.js'
import { StateLines } from './state-lines.js'
import { type ShownEvent, Transcript } from './transcript.js'

export interface TailOptions {
  readonly hub: string
  readonly token?: string
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly since?: Since
  readonly last?: number
  readonly replay: 'all' | 'none' | 'traits'
  readonly grep?: Grep
  /** Names of slices; `true` for all. */
  readonly state?: readonly string[] | true
  readonly json?: boolean
  readonly text?: boolean
}

/** How one response ended. */
type Ending =
  | { readonly kind: 'ended' }
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string }

const retryMsMax = 5_000
/** A hub writes a comment after every 15 s of silence by default. */
const silenceMsMax = 60_000

/** Shows a topic from its past until its end, across reconnects. */
export class Tailing {
  readonly #hub: HubHttp
  readonly #topic: TopicName
  readonly #options: TailOptions
  readonly #surroundings: Surroundings
  readonly #palette: Palette
  readonly #transcript: Transcript | undefined
  readonly #state: StateLines | undefined
  readonly #abort = new AbortController()
  #cursor: string | undefined
  /** The beginning of a past that is not complete. */
  readonly #window: { readonly last?: number; readonly since?: number }
  /** Events of workers that were shown of the past, until all that are shown are. */
  #replayed: number | undefined = 0
  #isLive = false
  #signal: NodeJS.Signals | undefined
  #away = false
  #attempts = 0
  /** The hub's final error on the stream. */
  #last: Ending | undefined

  constructor(hub: HubHttp, topic: TopicName, options: TailOptions, surroundings: Surroundings) {
    const { stdout, stderr, env, clock } = surroundings
    this.#hub = hub
    this.#topic = topic
    this.#options = options
    this.#surroundings = surroundings
    this.#palette = paletteFor(stderr, env)
    const { since, last } = options
    if (since?.kind === 'cursor') this.#cursor = since.cursor
    const from =
      since?.kind === 'ago' ? clock.now() - since.ms : since?.kind === 'time' ? since.at : undefined
    this.#window = {
      ...(last !== undefined && { last }),
      ...(from !== undefined && { since: Math.max(0, from) }),
    }
    if ((stdout.isTTY === true || options.text === true) && options.json !== true) {
      const palette = paletteFor(stdout, env)
      const columns = () => (stdout.isTTY ? stdout.columns : undefined) ?? Number.POSITIVE_INFINITY
      const transcript = new Transcript(palette, columns, clock.now())
      this.#transcript = transcript
      this.#state = new StateLines(palette, { columns: () => transcript.room, all: topic.kind === 'all' })
    }
    // The reader of the output has closed it.
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
    const code = await this.#followOn()
    for (const event of this.#options.grep?.end() ?? []) this.#show(event)
    if (this.#transcript !== undefined && this.#cursor !== undefined && this.#last?.kind !== 'ended') {
      this.tell(this.#palette.dim(`continue with --since ${this.#cursor}`))
    }
    return code
  }

  /** @returns the exit code */
  async #followOn(): Promise<number> {
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
        if (this.#isLive && this.#replayed !== undefined) await this.#tellLeftOut(this.#replayed)
        await this.#room()
      }
    } catch (error) {
      return this.#last ?? { kind: 'lost', reason: reasonOf(error) }
    }
    return this.#last ?? { kind: 'lost', reason: 'the response ended' }
  }

  #path(): string {
    const { types, mode, replay } = this.#options
    const { last, since } = this.#window
    const query = new URLSearchParams()
    if (this.#topic.kind === 'all') query.set('all', '1')
    if (types !== undefined) query.set('types', types.join(','))
    if (mode !== undefined) query.set('mode', mode)
    if (replay !== 'traits') query.set('replay', replay === 'all' ? 'all' : 'false')
    const slices = this.#options.state ?? (this.#topic.kind === 'hub' ? true : undefined)
    if (slices !== undefined) query.set('slices', slices === true ? '*' : slices.join(','))
    if (this.#cursor !== undefined) query.set('after', this.#cursor)
    else {
      if (last !== undefined) query.set('last', String(last))
      if (since !== undefined) query.set('since', String(since))
    }
    if (this.#topic.kind === 'hub') return `/api/stream?topic=hub&${query.toString()}`
    const worker = this.#topic.kind === 'worker' ? `/workers/${this.#topic.worker}` : ''
    return `/api/sessions/${this.#topic.session}${worker}/events?${query.toString()}`
  }

  #take({ event, data }: StreamEvent): void {
    if (event.startsWith('hub.')) return this.#control(event, parseObject(data) ?? {})
    if (event === 'complete') this.#last = { kind: 'ended' }
    const { stdout } = this.#surroundings
    const { grep } = this.#options
    if (this.#transcript === undefined && grep === undefined && this.#replayed === undefined) {
      stdout.write(`${escapeControls(data)}\n`)
      return
    }
    const value = parseObject(data) ?? {}
    const time = typeof value['time'] === 'number' ? value['time'] : this.#surroundings.clock.now()
    const worker = typeof value['worker'] === 'string' ? value['worker'] : ''
    if (this.#replayed !== undefined && value['replay'] === true && worker !== '') this.#replayed++
    const shown: ShownEvent = { type: event, time, worker, data: value['data'] }
    if (this.#transcript === undefined) {
      const isState = event === 'state.initial' || event === 'state.update'
      if (isState || event === 'redacted' || grep?.matches(shown) !== false)
        stdout.write(`${escapeControls(data)}\n`)
      return
    }
    if (event === 'state.initial') return this.#begin(time, value['data'] as { readonly slices: Slices })
    if (event === 'state.update') {
      const lines = this.#state?.update(value as unknown as HubEvent) ?? []
      stdout.write(this.#transcript.lines({ time, worker }, lines))
      return
    }
    // It is about what was shown, whatever is looked for.
    const found = grep === undefined || event === 'redacted' ? shown : grep.take(shown)
    if (found !== undefined) this.#show(found)
  }

  #show(event: ShownEvent): void {
    this.#surroundings.stdout.write(this.#transcript?.show(event) ?? '')
  }

  #begin(time: number, { slices }: { readonly slices: Slices }): void {
    for (const { worker, lines } of this.#state?.begin(slices) ?? []) {
      this.#surroundings.stdout.write(this.#transcript?.lines({ time, worker }, lines) ?? '')
    }
  }

  #control(event: string, { reason, dropped, code }: Readonly<Record<string, unknown>>): void {
    if (event === 'hub.live') this.#isLive = true
    else if (event === 'hub.gap') {
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

  /** Reports once, after the past, how much of it was not shown. */
  async #tellLeftOut(replayed: number): Promise<void> {
    this.#replayed = undefined
    const { since, last, replay } = this.#options
    if (this.#topic.kind === 'hub' || since !== undefined || last !== undefined) return
    const path = `/api/sessions/${this.#topic.session}`
    const answer = await this.#hub.ask({ method: 'GET', path }).catch(() => undefined)
    const text = leftOutText(this.#topic, (answer && parseObject(answer.body)) ?? {}, { replay, replayed })
    if (text !== undefined) this.tell(this.#palette.dim(text))
  }

  /** Reads no faster than the output is read; meanwhile the hub conflates. */
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

/** @returns the part of a topic that was not shown; nothing if all of it was shown */
function leftOutText(
  topic: TopicName,
  { history, workers, offset }: Readonly<Record<string, unknown>>,
  { replay, replayed }: { readonly replay: TailOptions['replay']; readonly replayed: number },
): string | undefined {
  const { evicted, trimmed } = isObject(history) ? history : {}
  if (replay === 'all') {
    if (typeof trimmed === 'number') return `what came before offset ${trimmed + 1} is no longer kept`
    if (typeof evicted !== 'number' || topic.kind !== 'all') return undefined
    return `${formatCount(evicted, 'earlier event')} ${evicted === 1 ? 'is' : 'are'} no longer kept`
  }
  const total = (Array.isArray(workers) ? workers : [])
    .filter(isObject)
    .filter(({ id }) => topic.kind !== 'worker' || id === topic.worker)
    .reduce((sum, { events }) => sum + (typeof events === 'number' ? events : 0), 0)
  const hint = '--replay all shows all that are kept'
  // The session's own events are not counted.
  if (topic.kind === 'session')
    return offset === 0 ? undefined : `the past is shown as far as --replay ${replay} says; ${hint}`
  if (total <= replayed) return undefined
  const counted = formatCount(total, 'earlier event')
  return replay === 'none'
    ? `${counted} ${total === 1 ? 'is' : 'are'} not shown; ${hint}`
    : `the catalog replays ${replayed} of ${counted}; ${hint}`
}

const gapTexts: Readonly<Record<string, string>> = {
  epoch: 'the hub started anew: what it had not yet sent is gone',
}

function endingOf(answer: Parameters<typeof problemOf>[0]): Ending {
  // The response for a client that already has all of an ended session.
  if (answer.status === 204) return { kind: 'ended' }
  const { detail } = problemOf(answer)
  return answer.status >= 500 || answer.status === 429
    ? { kind: 'lost', reason: detail }
    : { kind: 'refused', reason: `the hub refused: ${detail}` }
}
