import { createReadStream, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { Ingested, IngestKind } from '../ingest/ingest.js'
import { recognize } from '../ingest/kinds.js'
import { Translation } from '../ingest/translate.js'
import { cutText } from '../lib/cut-text.js'
import { fieldsOf, isObject, type JsonObject } from '../lib/json.js'
import { parseJsonText } from '../lib/json-text.js'
import { LineReader } from '../lib/ndjson.js'
import { ProtocolError } from '../protocol/codes.js'
import { ownId } from '../protocol/foreign-id.js'
import { defaultLimits } from '../protocol/limits.js'

/** The agent of a log, by the log's lines. */
export interface Identity {
  /** The agent's own id of its session, or the name of the file. */
  readonly session: string
  readonly kind: string
  readonly cwd: string | undefined
  /** The session of the agent that started this one, if that agent has a log of its own. */
  readonly parent: string | undefined
}

/** The events made from a line. */
export interface LogEvent {
  readonly line: number
  readonly at: number
  readonly ingested: Ingested
}

/** Maximum of bytes that are read from a log at once. */
const readBytesMax = 4 * 1024 * 1024
const titleLengthMax = 80

/** A log that an agent writes, read from its beginning and followed as it grows. */
export class AgentLog {
  readonly path: string
  /** The number of bytes read so far. */
  #offset = 0
  readonly #reader: LineReader
  readonly #kind: string | undefined
  #translation: Translation | undefined
  #identity: Identity | undefined
  #title: string | undefined
  #events: LogEvent[] = []
  #fault: string | undefined
  #isBroken = false

  /** @param kind a kind of agent; absent: the first line that is of one kind alone says it */
  constructor(path: string, kind: string | undefined) {
    this.path = path
    this.#kind = kind
    this.#reader = new LineReader(defaultLimits.lineBytesMax, (text, line) => this.#take(text, line))
  }

  /** The name of the file without its end: the same whenever it is followed. */
  get name(): string {
    return basename(this.path).replace(/\.\w+$/, '')
  }

  /** Known once a line with it was read. */
  get identity(): Identity | undefined {
    return this.#identity
  }

  /** The agent's first prompt; absent before it. */
  get title(): string | undefined {
    return this.#title
  }

  /** A line that could not be read; reported once. */
  takeFault(): string | undefined {
    const fault = this.#fault
    this.#fault = undefined
    return fault
  }

  /** @returns the new lines; none if the file has not grown or can no longer be read */
  async read(): Promise<readonly LogEvent[]> {
    const size = sizeOf(this.path)
    if (this.#isBroken || size === undefined || size <= this.#offset) return []
    const end = Math.min(size, this.#offset + readBytesMax) - 1
    try {
      for await (const chunk of createReadStream(this.path, { start: this.#offset, end })) {
        this.#offset += (chunk as Buffer).length
        this.#reader.push(chunk as Buffer)
      }
    } catch (error) {
      // The line is too long or not UTF-8, so the beginning of the next one is not known.
      this.#isBroken = true
      this.#fault = error instanceof Error ? error.message : String(error)
    }
    const events = this.#events
    this.#events = []
    return events
  }

  #take(text: string, line: number): void {
    try {
      const value = parseJsonText(text, defaultLimits)
      if (isObject(value)) this.#identify(value)
      if (this.#translation === undefined) return
      for (const [at, ingested] of this.#translation.value(value).entries()) this.#add(line, at, ingested)
    } catch (error) {
      if (!(error instanceof ProtocolError) && !(error instanceof SyntaxError)) throw error
      this.#fault ??= `line ${line}: ${error.message}`
    }
  }

  #add(line: number, at: number, ingested: Ingested): void {
    const { prompt } = fieldsOf(ingested.event.data)
    if (this.#title === undefined && typeof prompt === 'string') {
      this.#title = cutText(prompt.replaceAll(/\s+/g, ' ').trim(), titleLengthMax)
    }
    this.#events.push({ line, at, ingested })
  }

  #identify(value: JsonObject): void {
    if (this.#identity?.cwd !== undefined) return
    const found: IngestKind | undefined = recognize(value)
    if (found === undefined || (this.#kind !== undefined && found.name !== this.#kind)) return
    this.#translation ??= new Translation(found.name, { bounds: defaultLimits })
    const { sessionId, agentId } = value
    const payload = value['type'] === 'session_meta' ? fieldsOf(value['payload']) : {}
    const spawned = fieldsOf(fieldsOf(fieldsOf(payload['source'])['subagent'])['thread_spawn'])
    const session = [sessionId, payload['id'], this.#identity?.session].find((one) => typeof one === 'string')
    const parent = spawned['parent_thread_id']
    const cwd = value['cwd'] ?? payload['cwd']
    this.#identity = {
      session: session ?? this.name,
      kind: found.name,
      cwd: typeof cwd === 'string' ? cwd : undefined,
      parent: typeof parent === 'string' && agentId === undefined ? parent : this.#identity?.parent,
    }
  }
}

/** @returns the id of the hub's session for an agent's session */
export function sessionIdOf(name: string): string {
  return ownId(name).slice(0, defaultLimits.idLengthMax)
}

/** @returns the size of a file in bytes; nothing if it is gone */
export function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size
}
