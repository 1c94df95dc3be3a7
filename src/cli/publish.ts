import { createReadStream } from 'node:fs'
import { Command, Option } from 'commander'
import type { Ingested } from '../ingest/ingest.js'
import { ingestNames, Translation } from '../ingest/translate.js'
import { LineError, LineReader } from '../lib/ndjson.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, reasonOf } from './hub-http.js'
import {
  hubOf,
  hubOption,
  idOption,
  newSessionId,
  secondsOption,
  tokenOption,
  typeOption,
} from './options.js'
import { exitCodeOf } from './running/child.js'
import { dialectLine, eventOf, InputError, type Line, parseLine, typeIn } from './sending/input-line.js'
import { awayText, Sender, type SenderNews } from './sending/sender.js'
import { formatBytes, formatCount, formatDuration } from './showing/paint.js'
import { StatusLine } from './showing/status-line.js'
import type { Surroundings } from './surroundings.js'

interface PublishOptions {
  readonly hub: string
  readonly token?: string
  readonly session?: string
  readonly worker?: string
  readonly type?: string
  readonly typeField?: string
  readonly dialect?: string
  readonly from?: string
  readonly end?: boolean
  readonly wait: number
}

const examples = `
Examples:
  $ runcast publish --session demo events.ndjson
  $ echo '{"type":"note","data":{"text":"hello"}}' | runcast publish --session demo
  $ runcast publish --session demo --worker model --type-field type stream.ndjson
  $ runcast publish --session chat-1 --dialect stream-event stream.ndjson
  $ claude -p --output-format stream-json --verbose 'fix the tests' | runcast publish --session fix --from claude-code
  $ kubectl logs -f pod | jq -c . | runcast publish --session demo --worker pod --type log -

The input is NDJSON: one JSON value per line. By default each is an event, { "type", "data"?, "id"?, "key"?, "time"?,
"force"? }. With --type or --type-field each value is the data of an event. With --dialect each is an object in the format
of that dialect. With --from the lines are the output of an agent or of a model's API, as NDJSON or as an event stream,
and become events of the built-in catalog. A file is read no faster than the hub takes the events. Events that the hub has
not acknowledged are sent again; every event gets an id if it has none, so that none is published twice.

A line that cannot be published stops the command; the lines before it are published.
${exitCodesHelp}`

export function publishCommand(surroundings: Surroundings): Command {
  return new Command('publish')
    .summary('publish NDJSON from a file or a pipe')
    .description('Publishes events, or any JSON as the data of events, from a file or from standard input.')
    .argument('[file]', 'an NDJSON file; - or nothing for standard input', '-')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--session <id>', 'the session to publish to (default: a new one)', idOption)
    .option('--worker <id>', 'the worker of the session that publishes', idOption)
    .option('--type <type>', "wrap every line as an event's data, with this type", typeOption)
    .option('--type-field <name>', 'the same, with the type taken from this field of the object')
    .addOption(
      new Option(
        '--dialect <name>',
        'the format of the lines: ai-sdk, ag-ui, openai-responses, langgraph, session-bus, stream-event, task-log, or your own',
      ).conflicts(['type', 'typeField']),
    )
    .addOption(
      new Option('--from <kind>', 'the program that prints the lines; auto: detect it from the first object')
        .choices(ingestNames)
        .conflicts(['type', 'typeField', 'dialect']),
    )
    .option('--end', 'end the session after everything is published')
    .option('--wait <seconds>', 'how long to wait at the end for an unreachable hub', secondsOption, 30)
    .addHelpText('after', examples)
    .action(async (file: string, options: PublishOptions) => {
      process.exitCode = await publish(file, options, surroundings)
    })
}

async function publish(file: string, options: PublishOptions, surroundings: Surroundings): Promise<number> {
  const hub = hubOf(options, surroundings.env)
  const session = options.session ?? newSessionId(surroundings.random)
  try {
    if ((await lookUpSession(hub, session)) === 'ended') {
      throw new CommandError(exitCodes.failure, `session ${session} has ended and takes no more events`)
    }
    return await new Publishing(hub, session, options, surroundings).toItsEnd(file)
  } finally {
    hub.close()
  }
}

/** One `runcast publish` from the first line to the last acknowledgement. */
class Publishing {
  readonly #hub: HubHttp
  readonly #topic: string
  readonly #options: PublishOptions
  readonly #surroundings: Surroundings
  readonly #sender: Sender
  readonly #status: StatusLine
  /** Makes the ids of the events its own. */
  readonly #id: string
  readonly #startedAt: number
  readonly #translation: Translation | undefined
  #bytes = 0
  /** The last line that was read. */
  #line = 0
  #signal: NodeJS.Signals | undefined
  #failure: string | undefined

  constructor(hub: HubHttp, session: string, options: PublishOptions, surroundings: Surroundings) {
    const { clock, random } = surroundings
    this.#hub = hub
    this.#topic = `sessions/${session}${options.worker === undefined ? '' : `/workers/${options.worker}`}`
    this.#options = options
    this.#surroundings = surroundings
    this.#id = random.id(10)
    this.#startedAt = clock.elapsed()
    this.#status = new StatusLine(surroundings, () => this.#progress())
    const { dialect, from, worker } = options
    this.#translation =
      from === undefined
        ? undefined
        : new Translation(from, {
            bounds: defaultLimits,
            ...(worker !== undefined && { worker }),
          })
    this.#sender = new Sender({
      hub,
      session,
      clock,
      ...(dialect !== undefined && { query: `?dialect=${encodeURIComponent(dialect)}` }),
      tell: (news) => this.#heard(news),
    })
  }

  /** @returns the exit code */
  async toItsEnd(file: string): Promise<number> {
    const input = file === '-' ? process.stdin : createReadStream(file)
    const restore = this.#surroundings.onSignal((signal) => {
      // The first signal ends the reading; a second one ends the wait for the hub.
      if (this.#signal !== undefined) this.#sender.stop()
      this.#signal = signal
      input.destroy()
    })
    try {
      await this.#read(input)
    } catch (error) {
      if (this.#signal === undefined) this.#failure = readingFailed(error, file)
    }
    this.#endStream()
    await this.#finish()
    restore()
    this.#status.end()
    return this.#tellOutcome()
  }

  /** Reads the input no faster than the hub takes it. */
  async #read(input: AsyncIterable<Buffer>): Promise<void> {
    const reader = new LineReader(defaultLimits.lineBytesMax, (text, line) => {
      this.#line = line
      if (this.#translation !== undefined) return this.#translated(line, (to) => to.line(text))
      const { json, worker } = this.#event(text, line)
      this.#sender.push(this.#options.worker ?? worker, { json, line })
    })
    for await (const chunk of input) {
      this.#bytes += chunk.length
      reader.push(chunk)
      await this.#sender.room()
      if (this.#sender.refused) return
    }
    reader.end()
  }

  /** Publishes the end of an agent's stream, even if one of its lines could not be read. */
  #endStream(): void {
    try {
      this.#translated(this.#line + 1, (to) => to.end())
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      this.#failure ??= error.message
    }
  }

  /** Publishes the events of an agent's line, or of the end of its stream. */
  #translated(line: number, translate: (to: Translation) => readonly Ingested[]): void {
    if (this.#translation === undefined) return
    try {
      for (const [at, { event, worker }] of translate(this.#translation).entries()) {
        const json = JSON.stringify({ ...event, id: `${this.#id}-${line}-${at}` })
        this.#sender.push(worker, { json, line })
      }
    } catch (error) {
      throw error instanceof ProtocolError ? new InputError(line, error.message) : error
    }
  }

  async #finish(): Promise<void> {
    const { end, wait } = this.#options
    const sender = this.#sender
    const code = this.#failure === undefined ? exitCodes.ok : exitCodes.failure
    const delivered = end && this.#signal === undefined ? sender.end({ code }) : sender.drained()
    const late = this.#surroundings.clock.after(wait * 1000, () => sender.stop())
    await delivered
    late.cancel()
    sender.stop()
  }

  /** @throws InputError or ProtocolError if the line is not an event and cannot become one */
  #event(text: string, line: number): Line {
    const id = `${this.#id}-${line}`
    const value = parseLine(text, line)
    const { type, typeField, dialect } = this.#options
    if (dialect !== undefined) return dialectLine(value, line, id)
    if (type === undefined && typeField === undefined) return eventOf(value, text.trim(), line, id)
    const chosen = (typeField === undefined ? undefined : typeIn(value, typeField)) ?? type
    if (chosen === undefined) {
      throw new InputError(
        line,
        `expected an object with the field ${quote(typeField)} to name the event's type`,
      )
    }
    return { json: `{"type":"${chosen}","id":"${id}","data":${text.trim()}}` }
  }

  #heard(news: SenderNews): void {
    const { palette } = this.#status
    switch (news.kind) {
      case 'away':
        return this.#status.tell(palette.yellow(awayText(this.#hub.name, news, 'waiting')))
      case 'back':
        return this.#status.tell(palette.green(`the hub is back after ${formatDuration(news.awayMs)}`))
      case 'refused': {
        const where = news.line === undefined ? '' : `line ${news.line}: `
        this.#failure = `${where}the hub refused: ${news.detail}`
        return
      }
      case 'full':
      case 'room':
        return
      default:
        return news satisfies never
    }
  }

  #progress(): string {
    const { events } = this.#sender.acknowledged
    const seconds = (this.#surroundings.clock.elapsed() - this.#startedAt) / 1000
    const rate = seconds < 0.5 ? '' : `, ${formatCount(Math.round(events / seconds), 'event')}/s`
    return `${formatCount(events, 'event')} published, ${formatBytes(this.#bytes)} read${rate}`
  }

  /** @returns the exit code */
  #tellOutcome(): number {
    const { clock, stdout } = this.#surroundings
    const { waiting, refused, acknowledged } = this.#sender
    const { events, duplicates } = acknowledged
    const known = duplicates === 0 ? '' : ` (${formatCount(duplicates, 'event')} it had already)`
    const took = formatDuration(clock.elapsed() - this.#startedAt)
    stdout.write(`${formatCount(events, 'event')} published to ${this.#topic} in ${took}${known}\n`)
    if (this.#failure !== undefined) {
      throw new CommandError(refused ? exitCodes.hubRefused : exitCodes.failure, this.#failure)
    }
    if (this.#signal !== undefined) return exitCodeOf(this.#signal)
    if (waiting > 0) {
      throw new CommandError(
        exitCodes.hubUnavailable,
        `${formatCount(waiting, 'event')} not taken by the hub at ${this.#hub.name}`,
      )
    }
    return exitCodes.ok
  }
}

function readingFailed(error: unknown, file: string): string {
  if (error instanceof InputError || error instanceof LineError) return error.message
  if (error instanceof Error && 'code' in error) return `cannot read ${file}: ${reasonOf(error)}`
  throw error
}
