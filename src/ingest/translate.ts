import { type BlockBounds, doneMark, EventLines, type JsonBlock } from '../lib/event-lines.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { BeyondBounds, parseJsonText } from '../lib/json-text.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { objectOf, shown } from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { ingestKinds, recognize } from './kinds.js'

/** The values of `--from` and `?from=`: the name of a kind, or `auto`, which decides by the first object. */
export const ingestNames: readonly string[] = [...ingestKinds.keys(), 'auto']

/**
 * Translates one stream of an agent's output, from its first line to its last.
 *
 * The lines are JSON objects, or those of an event stream (HTML Living Standard, section 9.2.6), whose `data` is
 * JSON. Blank lines may be left out: a `data` that is complete JSON is complete.
 */
export class Translation {
  readonly #name: string
  readonly #worker: string | undefined
  #ingest: Ingest | undefined
  #kind: IngestKind | undefined
  readonly #bounds: BlockBounds
  readonly #blocks: EventLines

  /**
   * @param name one of `ingestNames`
   * @param options.worker the worker of the agent; its sub-agents are named after it
   * @param options.bounds of each line, and of the `data` of a block
   * @throws ProtocolError `badFrame` if there is no such kind
   */
  constructor(name: string, options: { readonly worker?: string; readonly bounds: BlockBounds }) {
    if (!ingestNames.includes(name)) {
      throw new ProtocolError(
        'badFrame',
        `from: expected one of ${ingestNames.join(', ')}, got ${quote(name)}`,
      )
    }
    this.#name = name
    this.#worker = options.worker
    this.#bounds = options.bounds
    this.#blocks = new EventLines(options.bounds)
    this.#choose(ingestKinds.get(name))
  }

  /** What is remembered of the stream, and of a value in it that is not complete. Bytes, about. */
  get keptBytes(): number {
    return this.#blocks.rest.length + (this.#ingest?.kept.bytes ?? 0)
  }

  /** @throws ProtocolError `badFrame` if the line is neither JSON nor a line of an event stream, or is of another kind */
  line(text: string): readonly Ingested[] {
    const line = text.trim()
    if (line === doneMark) return this.#done()
    return EventLines.isField(line) ? this.#field(line) : this.value(this.#parsed(line))
  }

  /** @throws ProtocolError `badFrame` if it is not an object, or is of another kind */
  value(value: JsonValue): readonly Ingested[] {
    if (!isObject(value)) throw new ProtocolError('badFrame', `expected an object, got ${quote(value)}`)
    return this.#named(this.#ingestOf(value).take(value))
  }

  /** @returns the events of the stream's end, unless the stream reported the end itself */
  end(): readonly Ingested[] {
    const { rest } = this.#blocks
    if (rest !== '') throw new ProtocolError('badFrame', `data: expected JSON, got ${quote(rest)}`)
    return this.#named(this.#ingest?.end() ?? [])
  }

  #field(line: string): readonly Ingested[] {
    const block = this.#pushed(line)
    if (block === undefined) return []
    return block === 'done' ? this.#done() : this.value(inBlock(block))
  }

  #pushed(line: string): JsonBlock | 'done' | undefined {
    try {
      return this.#blocks.push(line)
    } catch (error) {
      if (error instanceof RangeError) throw new ProtocolError('frameTooLarge', error.message)
      if (error instanceof BeyondBounds) throw new ProtocolError('badFrame', `data: ${error.message}`)
      throw error
    }
  }

  #parsed(text: string): JsonValue {
    try {
      return parseJsonText(text, this.#bounds)
    } catch (error) {
      const reason = error instanceof BeyondBounds ? error.message : `expected JSON, got ${quote(text)}`
      throw new ProtocolError('badFrame', reason)
    }
  }

  #done(): readonly Ingested[] {
    return this.#named(this.#ingest?.end() ?? [])
  }

  #ingestOf(value: JsonObject): Ingest {
    const found = this.#kind === undefined ? recognize(value) : undefined
    if (this.#ingest !== undefined) {
      this.#expectKind(value)
      return this.#ingest
    }
    if (found === undefined) {
      const kinds = [...ingestKinds.keys()].join(', ')
      throw new ProtocolError(
        'badFrame',
        `cannot tell which kind of output this is: ${shown(value)}; name it: one of ${kinds}`,
      )
    }
    return this.#choose(found) as Ingest
  }

  /** A first object of another kind is refused; later ones are kept unchanged. */
  #expectKind(value: JsonObject): void {
    const kind = this.#kind
    if (kind === undefined || this.#name === 'auto') return
    this.#kind = undefined
    if (kind.recognizes(value)) return
    const other = recognize(value)
    if (other === undefined) return
    this.#kind = kind
    throw new ProtocolError(
      'badFrame',
      `expected output of ${kind.name}, got output of ${other.name}: ${shown(value)}`,
    )
  }

  #choose(kind: IngestKind | undefined): Ingest | undefined {
    this.#kind = kind
    this.#ingest = kind?.start()
    return this.#ingest
  }

  #named(found: readonly Ingested[]): readonly Ingested[] {
    return this.#worker === undefined ? found : underWorker(this.#worker, found)
  }
}

/** Names sub-agents, which are workers of their own, after the worker of their agent. */
export function underWorker(base: string, found: readonly Ingested[]): readonly Ingested[] {
  return found.map(({ event, worker }) => {
    if (worker === undefined) return { event, worker: base }
    const name = `${base}.${worker}`
    if (event.type !== 'execution_started') return { event, worker: name }
    const { parent } = objectOf(event.data)
    const data = { ...objectOf(event.data), parent: typeof parent === 'string' ? `${base}.${parent}` : base }
    return { event: { ...event, data }, worker: name }
  })
}

/** Some kinds, such as LangGraph's modes, need the `event` of a block as well as its data. */
function inBlock({ event, data }: JsonBlock): JsonValue {
  if (event === undefined || event === 'message') return data
  const named = isObject(data) && ['type', 'choices', 'event'].some((name) => data[name] !== undefined)
  return named ? data : { event, data }
}
