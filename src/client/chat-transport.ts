import { EventStreamReader } from '../lib/event-stream.js'
import type { JsonObject } from '../lib/json.js'
import { ownId } from '../protocol/foreign-id.js'
import { RequestError } from './errors.js'
import { clientClock, clientRandom } from './surroundings.js'

export interface ChatTransportOptions {
  /** URL of the hub: `http://127.0.0.1:4600`, or the path at which an application has mounted it. */
  readonly url: string
  /** The token for each request, if the hub requires one. */
  readonly token?: string | (() => string | Promise<string>)
  /** The version of the SDK: version 7 gets parts that version 6 does not understand. Default 6. */
  readonly version?: 6 | 7
  /** How often a broken link is reopened. Default 5. */
  readonly retriesMax?: number
  readonly fetch?: typeof globalThis.fetch
}

/** The arguments of `useChat` for a sent message. */
export interface SentMessages {
  readonly chatId: string
  readonly messages: readonly object[]
  readonly trigger: string
  readonly messageId?: string | undefined
  readonly abortSignal?: AbortSignal | undefined
  readonly body?: object | undefined
  readonly metadata?: unknown
}

/** The wait before the second attempt; it doubles with each further one. */
const pauseMs = 250

/**
 * A transport of the AI SDK (`useChat({ transport })`) over a hub. A sent message is published as `chat.request` for an agent
 * that follows the session; the agent's run is streamed to everyone who has the chat open. A broken link resumes by cursor,
 * without repeating the message. `stop` asks the agent to stop (`command.cancel`).
 */
export class RuncastChatTransport<Chunk = JsonObject> {
  /** Read by the SDK: a resumed stream tells the message from its beginning, and takes the place of what there is of it. */
  readonly resumeStreamIsReplay = true
  readonly #options: ChatTransportOptions
  readonly #url: string

  constructor(options: ChatTransportOptions) {
    this.#options = options
    this.#url = options.url.replace(/\/+$/, '')
  }

  /** Sends a message to the agent. @returns the parts of the run that follows */
  async sendMessages(sent: SentMessages): Promise<ReadableStream<Chunk>> {
    const { chatId, abortSignal, messages, trigger, messageId, body, metadata } = sent
    const data = { ...body, messages, trigger, messageId, metadata }
    const last = await this.#publish(chatId, 'chat.request', data)
    const stop = (): void => {
      this.#publish(chatId, 'command.cancel', { reason: 'stopped in the chat' }).catch(() => {})
    }
    abortSignal?.addEventListener('abort', stop, { once: true })
    const parts = await this.#open(chatId, `since=${last}`, abortSignal)
    if (parts === undefined) throw new Error('the hub has no run to follow')
    return parts
  }

  /** Joins the active run. @returns null if there is none */
  async reconnectToStream({ chatId }: { readonly chatId: string }): Promise<ReadableStream<Chunk> | null> {
    return (await this.#open(chatId, '', undefined)) ?? null
  }

  async #publish(chatId: string, type: string, data: object): Promise<number> {
    const event = { type, data, id: clientRandom.id() }
    const response = await this.#fetch(`/api/sessions/${ownId(chatId)}/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(event),
    })
    if (!response.ok) throw await refusalOf(response)
    const answer = (await response.json()) as { readonly last: number }
    return answer.last
  }

  async #open(
    chatId: string,
    query: string,
    signal: AbortSignal | undefined,
  ): Promise<ReadableStream<Chunk> | undefined> {
    const { version = 6, retriesMax = 5 } = this.#options
    const path = `/api/chat/${encodeURIComponent(chatId)}/stream?v=${version}`
    const ended = new AbortController()
    const signals = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal])
    const ask = (lastId: string | undefined): Promise<Response> =>
      this.#fetch(lastId === undefined && query !== '' ? `${path}&${query}` : path, {
        headers: lastId === undefined ? {} : { 'last-event-id': lastId },
        signal: signals,
      })
    const first = await ask(undefined)
    if (first.status === 204) return undefined
    if (!first.ok) throw await refusalOf(first)
    const parts = new Parts<Chunk>(first, { ask, retriesMax, signal: signals })
    return new ReadableStream<Chunk>({
      start: (controller) => parts.read(controller),
      cancel: () => ended.abort(),
    })
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const { token, fetch = globalThis.fetch } = this.#options
    const given = typeof token === 'function' ? await token() : token
    const headers = {
      ...(init.headers as Record<string, string>),
      ...(given && { authorization: `Bearer ${given}` }),
    }
    return fetch(this.#url + path, { ...init, headers })
  }
}

interface Reading {
  /** Requests the blocks after an id. */
  readonly ask: (lastId: string | undefined) => Promise<Response>
  readonly retriesMax: number
  readonly signal: AbortSignal
}

/** The parts of one run, over as many responses as necessary. */
class Parts<Chunk> {
  #response: Response | undefined
  readonly #reading: Reading
  #lastId: string | undefined
  #given = false
  #isOver = false
  #retries = 0

  constructor(first: Response, reading: Reading) {
    this.#response = first
    this.#reading = reading
  }

  async read(controller: ReadableStreamDefaultController<Chunk>): Promise<void> {
    const { ask, retriesMax, signal } = this.#reading
    while (!this.#isOver) {
      try {
        await this.#readResponse(controller)
        if (this.#isOver) break
        // Without an id the run would be repeated from its beginning.
        if (this.#retries >= retriesMax || (this.#given && this.#lastId === undefined)) throw cutShort()
        await new Promise<void>((resolve) => void clientClock.after(pauseMs * 2 ** this.#retries++, resolve))
        const response = await ask(this.#lastId)
        if (response.status === 204) throw cutShort()
        if (!response.ok) throw await refusalOf(response)
        this.#response = response
      } catch (error) {
        const isFinal = error instanceof RunCutShort || error instanceof RequestError
        if (signal.aborted || isFinal || this.#retries >= retriesMax) return controller.error(error)
      }
    }
    controller.close()
  }

  /** Reads a response until it ends or is cut, which is not an error yet. */
  async #readResponse(controller: ReadableStreamDefaultController<Chunk>): Promise<void> {
    const response = this.#response
    this.#response = undefined
    if (response === undefined || response.body === null) return
    const blocks = new EventStreamReader(({ data }) => {
      if (data === '[DONE]') this.#isOver = true
      else {
        controller.enqueue(JSON.parse(data) as Chunk)
        this.#given = true
      }
    })
    try {
      for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
        blocks.push(bytes)
        if (blocks.lastId === undefined || blocks.lastId === this.#lastId) continue
        this.#lastId = blocks.lastId
        this.#retries = 0
      }
    } catch (error) {
      if (this.#reading.signal.aborted) throw error
    }
  }
}

class RunCutShort extends Error {
  override readonly name = 'RunCutShort'
}

function cutShort(): Error {
  return new RunCutShort('the run was cut short: the hub does not have the rest of it')
}

async function refusalOf(response: Response): Promise<Error> {
  const text = await response.text()
  try {
    const { detail, type } = JSON.parse(text) as { readonly detail?: string; readonly type?: string }
    return new RequestError(type?.replace('urn:runcast:', '') as never, detail ?? text)
  } catch {
    return new Error(`the hub answered ${response.status}: ${text.slice(0, 200)}`)
  }
}
