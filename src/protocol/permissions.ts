import { ProtocolError } from './codes.js'
import { formatTopic, type PatternText, parsePattern, type TopicName } from './topic.js'

export interface PermissionOptions {
  /** Patterns of topics that may be read. */
  readonly subscribe?: readonly PatternText[]
  /** Patterns of topics that may be published to. */
  readonly publish?: readonly PatternText[]
  /** Patterns of topics that may be sent commands, in addition to those that may be published to. */
  readonly command?: readonly PatternText[]
  /** No topic may be sent commands, not even those that may be published to. */
  readonly commandless?: boolean
}

/** Whether events of a type are commands. */
export type IsCommand = (type: string) => boolean

type Segments = readonly string[]

/** A worker that no pattern can name, so that only a wildcard matches it. */
const anyWorker = ''

/** What a client may do. Checked when it subscribes or publishes, never for a delivery. */
export class Permissions {
  /** The sessions whose own topics may be read, in the order of their ids; absent: all. */
  readonly sessions: readonly string[] | undefined
  /** Whether any topic may be read. */
  readonly reads: boolean
  readonly #read: readonly Segments[]
  readonly #write: readonly Segments[]
  readonly #command: readonly Segments[]
  readonly #commandless: boolean

  /** @throws ProtocolError `badFrame` when a pattern is not valid */
  constructor({ subscribe = [], publish = [], command = [], commandless = false }: PermissionOptions) {
    this.#commandless = commandless
    this.#read = subscribe.map((text, at) => parsePattern(text, `subscribe[${at}]`))
    this.#write = publish.map((text, at) => parsePattern(text, `publish[${at}]`))
    this.#command = command.map((text, at) => parsePattern(text, `command[${at}]`))
    this.reads = this.#read.length > 0
    this.sessions = sessionsIn(this.#read)
  }

  /** Whether no topic may be read, published to or sent commands. */
  get allowsNothing(): boolean {
    return this.#read.length + this.#write.length + this.#command.length === 0
  }

  mayRead(name: TopicName): boolean {
    // The list of sessions contains only sessions that may be read anyway.
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

  /** For use before the events are known. @throws ProtocolError `forbidden` if not even commands may be published */
  expectCommand(name: TopicName): void {
    if (!this.mayCommand(name)) throw forbidden('publishing to', name)
  }

  /**
   * A client that may send commands to a topic but not publish to it may publish only commands.
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

  /** Whether the metrics of the hub may be read: a pattern includes `hub`. */
  get readsHub(): boolean {
    return covers(this.#read, { kind: 'hub' })
  }

  /** Whether the metrics of the hub and every topic of every session may be read. */
  get readsAll(): boolean {
    return this.readsHub && covers(this.#read, { kind: 'all', session: '' })
  }
}

/** All permissions, for hubs without authorization. */
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
      // This topic shows the session's own events and those of every worker, present and future.
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

/** A pattern names one session or all sessions. */
function sessionsIn(patterns: readonly Segments[]): readonly string[] | undefined {
  const anySession = ''
  if (has(patterns, ['sessions', anySession])) return undefined
  const named = patterns.map((pattern) => pattern[1] ?? anySession)
  return [...new Set(named)].filter((id) => has(patterns, ['sessions', id])).toSorted()
}
