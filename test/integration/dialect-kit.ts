import { spawn } from 'node:child_process'
import { EventSource } from 'eventsource'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Test } from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import type { NewEvent } from '../../src/protocol/frames.js'

export const numbered = (type: string, n: number): NewEvent => ({ type, data: { n } })

/** Messages as `EventSource` has them, for events without a name. */
export function follow(t: Test, url: string): { source: EventSource; messages: JsonObject[] } {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  const messages: JsonObject[] = []
  source.addEventListener('message', ({ data }) => {
    messages.push(data === '[DONE]' ? { done: true } : (JSON.parse(data) as JsonObject))
  })
  return { source, messages }
}

/** Reads a stream with a parser that others wrote. */
export async function parsed(t: Test, url: string, headers: Record<string, string> = {}) {
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const response = await fetch(url, { headers, signal: abort.signal })
  const events: EventSourceMessage[] = []
  const comments: string[] = []
  const parser = createParser({
    onEvent: (event) => events.push(event),
    onComment: (comment) => comments.push(comment),
  })
  const read = async () => {
    for await (const text of (response.body as ReadableStream).pipeThrough(new TextDecoderStream())) {
      parser.feed(text)
    }
  }
  let over = false
  const ended = read()
    .catch(() => {})
    .finally(() => {
      over = true
    })
  return { response, events, comments, ended, isOver: () => over, abort }
}

export async function curl(...args: readonly string[]): Promise<string> {
  const child = spawn('curl', ['-sN', '--max-time', '20', ...args])
  let text = ''
  for await (const piece of child.stdout) text += piece
  return text
}

export async function post(url: string, body: JsonValue, type = 'application/json'): Promise<JsonObject> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': type },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, ...((await response.json()) as JsonObject) }
}

export function cut(hub: Hub): void {
  for (const connection of hub.connections) connection.close('lagging', 'to see it come back')
}
