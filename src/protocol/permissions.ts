import { ProtocolError } from './codes.js'
import { formatTopic, type PatternText, parsePattern, type TopicName } from './topic.js'

export interface PermissionOptions {
  /** Patterns of topics that may be read. */
  readonly subscribe?: readonly PatternText[]
  /** Patterns of topics that may be published to. */
  readonly publish?: readonly PatternText[]
  /** Patterns of topics that may be sent commands, beside those that may be published to. */
  readonly command?: readonly PatternText[]
  /** Nothing may be commanded, not even what may be published to. */
  readonly commandless?: boolean
}

/** Whether events of a type are commands. */
export type IsCommand = (type: string) => boolean

type Segments = readonly string[]

/** A worker that no pattern can name, so that only a wildcard has it. */
const anyWorker = ''

/** What a client may do. Asked when it subscribes or publishes, never for a delivery. */
export class Permissions {
  /** The sessions whose own topics may be read, in the order of their ids; absent: all. */
  readonly sessions: readonly string[] | undefined
  /** Whether there is anything that may be read. */
  readonly reads: boolean
  readonly #read: readonly Segments[]
  readonly #write: readonly Segments[]
  readonly #command: readonly Segments[]
  readonly #commandless: boolean

  /** @throws ProtocolError `badFrame` when a pattern is none */
  constructor({ subscribe = [], publish = [], command = [], commandless = false }: PermissionOptions) {
    this.#commandless = commandless
    this.#read = subscribe.map((text, at) => parsePattern(text, `subscribe[${at}]`))
    this.#write = publish.map((text, at) => parsePattern(text, `publish[${at}]`))
    this.#command = command.map((text, at) => parsePattern(text, `command[${at}]`))
    this.reads = this.#read.length > 0
    this.sessions = sessionsIn(this.#read)
  }

  /** Whether there is nothing that may be read, published to or commanded. */
  get allowsNothing(): boolean {
    return this.#read.length + this.#write.length + this.#command.length === 0
  }

  mayRead(name: TopicName): boolean {
    // The list of sessions has no more than what may be read anyway.
    return name.kind === 'hub' ? this.reads : covers(this.#read, name)
  }

  mayWrite(name: TopicName): boolean {
    return covers(this.#write, name)
  }

  mayCommand(name: TopicName): boolean {
    return this.mayWrite(name) || covers(this.#command, name)
  }

  /** @throws ProtocolError `forbidden` */
  expectRead(name: TopicName): void {
    if (!this.mayRead(name)) throw forbidden('reading', name)
  }

  /** @throws ProtocolError `forbidden` */
  expectWrite(name: TopicName): void {
    if (!this.mayWrite(name)) throw forbidden('publishing to', name)
  }

  /** Before it is known what is published. @throws ProtocolError `forbidden` where nothing may be, no command either */
  expectCommand(name: TopicName): void {
    if (!this.mayCommand(name)) throw forbidden('publishing to', name)
  }

  /**
   * Who may command a topic and not publish to it may publish commands to it, and nothing else.
   *
   * @throws ProtocolError `forbidden`
   */
  expectPublish(name: TopicName, events: readonly { readonly type: string }[], isCommand: IsCommand): void {
    const mayWrite = this.mayWrite(name)
    if (mayWrite && !this.#commandless) return
    const commands = events.filter(({ type }) => isCommand(type)).length
    if (this.#commandless && commands > 0) {
      throw new ProtocolError(
        'forbidden',
        'pages of another origin may send commands with a token, or where the hub was started with their --origin',
      )
    }
    if (mayWrite) return
    const isAll = commands === events.length && commands > 0
    if (!isAll || !this.mayCommand(name)) throw forbidden('publishing to', name)
  }

  /** Whether the figures of the hub itself may be read: a pattern has `hub`. */
  get readsHub(): boolean {
    return covers(this.#read, { kind: 'hub' })
  }
}

/** Everything, where there is nobody to tell who may do what. */
export const everything = new Permissions({ subscribe: ['**'], publish: ['**'] })

export const nothing = new Permissions({})

function forbidden(what: string, name: TopicName): ProtocolError {
  return new ProtocolError('forbidden', `the token does not permit ${what} ${formatTopic(name)}`)
}

function covers(patterns: readonly Segments[], name: TopicName): boolean {
  switch (name.kind) {
    case 'hub':
      return has(patterns, ['hub'])
    case 'session':
      return has(patterns, ['sessions', name.session])
    case 'worker':
      return has(patterns, ['sessions', name.session, 'workers', name.worker])
    case 'all':
      // All that it shows: the session's own events, and those of any worker there may ever be.
      return (
        has(patterns, ['sessions', name.session]) &&
        has(patterns, ['sessions', name.session, 'workers', anyWorker])
      )
  }
}

function has(patterns: readonly Segments[], topic: Segments): boolean {
  for (const pattern of patterns) if (matches(pattern, topic)) return true
  return false
}

function matches(pattern: Segments, topic: Segments): boolean {
  for (let i = 0; i < pattern.length; i++) {
    const segment = pattern[i]
    if (segment === '**') return true
    if (i >= topic.length || (segment !== '*' && segment !== topic[i])) return false
  }
  return pattern.length === topic.length
}

/** A pattern names one session or all of them; there is nothing between. */
function sessionsIn(patterns: readonly Segments[]): readonly string[] | undefined {
  const anySession = ''
  if (has(patterns, ['sessions', anySession])) return undefined
  const named = patterns.map((pattern) => pattern[1] ?? anySession)
  return [...new Set(named)].filter((id) => has(patterns, ['sessions', id])).toSorted()
}
