import { mergeTextOf } from '../../catalog/merge.js'
import { conflate } from '../../history/conflate.js'
import type { Entry } from '../../history/entry.js'
import { escapeControls } from '../../lib/controls.js'
import { ProtocolError } from '../../protocol/codes.js'
import { type Cursor, formatCursor, type Offset } from '../../protocol/cursor.js'
import { isOwnType, type TopicName } from '../../protocol/topic.js'
import type { Answer, Stream, StreamEvents } from '../../transport/transport.js'
import type { AccessContext, HubContext } from '../context.js'
import { opened } from '../opened.js'
import { largeBytes, turnFor } from './body.js'
import { reads, wholeTopic } from './path-topics.js'
import { choiceOf } from './query.js'
import type { Call, Route } from './routes.js'

const formats = ['ndjson', 'text'] as const
type Format = (typeof formats)[number]

const contentTypes: Readonly<Record<Format, string>> = {
  ndjson: 'application/x-ndjson',
  text: 'text/plain; charset=utf-8',
}

/** How many events are read and formatted within one turn. */
const pageEvents = 250

/** All retained events of a session, running or ended, as one download. */
type ExportContext = HubContext & Pick<AccessContext, 'workTurns'>

export function exportRoute(context: ExportContext): Route {
  return {
    method: 'GET',
    path: '/api/sessions/{session}/export',
    query: ['format'],
    access: reads(wholeTopic),
    answer: (call) => exportSession(context, call),
  }
}

async function exportSession(context: ExportContext, call: Call): Promise<Answer | undefined> {
  const format = choiceOf(call.query, 'format', formats) ?? 'ndjson'
  await opened(context.hub, call)
  const { topic, before } = call.use(({ topic, param }) => {
    const found = context.hub.find(param('session'))
    return { topic, before: found && formatCursor(found.epoch, (found.offset + 1) as Offset) }
  })
  // If not even the first page can be read, the answer is a problem.
  const first = await pageOf(context, call, { topic, before, after: undefined })
  const head = {
    status: 200,
    headers: {
      'content-type': contentTypes[format],
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...call.headers,
    },
  }
  if (call.request.method === 'HEAD') return head
  const download = new Download(context)
  download.stream = call.exchange.stream(head, download)
  try {
    for (let page = first; ; ) {
      for (const text of textsOf(page.entries, format)) {
        await download.write(text)
        if (download.gone) return undefined
        await turnFor(context, call.sender, text.length)
      }
      if (page.next === undefined) break
      page = await pageOf(context, call, { topic, before, after: page.next })
    }
    download.stream.end()
  } catch (error) {
    // A clean end would make the download look complete.
    download.stream.cut()
    if (!(error instanceof ProtocolError)) context.report(error)
  }
  return undefined
}

interface Range {
  readonly topic: TopicName
  readonly before: Cursor | undefined
  readonly after: Cursor | undefined
}

/** Checks the permission again before each page. */
function pageOf({ hub }: HubContext, call: Call, { topic, before, after }: Range) {
  const query = {
    limit: Math.min(pageEvents, hub.limits.pageItemsMax),
    ...(before !== undefined && { before }),
    ...(after !== undefined && { after }),
  }
  return call.use(() => hub.readEntries(topic, query))
}

/** A response that is written as fast as its peer reads. */
class Download implements StreamEvents {
  stream: Stream | undefined
  gone = false
  readonly #context: HubContext
  #wake: (() => void) | undefined

  constructor(context: HubContext) {
    this.#context = context
  }

  drained(): void {
    this.#wake?.()
  }

  closed(): void {
    this.gone = true
    this.#wake?.()
  }

  /** @returns when more may be written, or the peer has gone */
  async write(text: string): Promise<void> {
    if (this.gone || this.stream === undefined || this.stream.write(Buffer.from(text))) return
    const { clock, limits } = this.#context
    await new Promise<void>((resolve) => {
      const stalled = clock.after(limits.stalledMs, () => this.stream?.cut())
      this.#wake = () => {
        stalled.cancel()
        resolve()
      }
      if (this.gone) this.#wake()
    })
  }
}

/** @returns the text of a page in pieces, each made when it is asked for; many large events take longer than a turn may */
function* textsOf(entries: readonly Entry[], format: Format): Generator<string> {
  const events = entries.filter(({ event }) => !isOwnType(event.type))
  const isText = format === 'text'
  let piece = ''
  for (const entry of isText ? conflate(events) : events) {
    piece += isText ? paragraphOf(entry) : lineOf(entry)
    if (piece.length < largeBytes) continue
    yield piece
    piece = ''
  }
  yield piece
}

/** An event in the form of `publish`, with its offset and worker. */
function lineOf({ event: { type, data, ...rest }, force }: Entry): string {
  return `${escapeControls(JSON.stringify({ type, data, ...rest, ...(force && { force }) }))}\n`
}

/** An event for people: texts as text, each line after the time and the worker. */
function paragraphOf({ event, traits }: Entry): string {
  const { time, worker, type, data } = event
  const merged = traits.merge && mergeTextOf(traits.merge, data)
  const text = merged?.text ?? `${type} ${JSON.stringify(data)}`
  const prefix = `${new Date(time).toISOString()} ${worker ?? '-'} | `
  const lines = text.replace(/\n$/, '').split('\n')
  return lines.map((line) => `${prefix}${line.replace(controls, '')}\n`).join('')
}

/** Characters that control a terminal, except tabs. Removing them makes colour sequences harmless. */
const controls = /[^\P{Cc}\t]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu
