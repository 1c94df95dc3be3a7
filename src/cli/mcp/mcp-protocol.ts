import {
  fromJsonSchema,
  isJSONRPCNotification,
  isJSONRPCRequest,
  type JSONRPCMessage,
  McpServer,
  ReadBuffer,
  type RequestId,
  serializeMessage,
  type Transport,
} from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import type { JsonObject, JsonValue } from '../../lib/json.js'
import type { Surroundings } from '../surroundings.js'

/** A tool for a model. */
export interface Tool {
  readonly name: string
  /** A description for the model: what the tool does, and when to use it. */
  readonly description: string
  /** A JSON Schema of its arguments: an object. */
  readonly input: JsonObject
  /** Whether it only reads. */
  readonly reads: boolean
  /** @returns the result for the model, as JSON; a thrown error is shown to the model */
  call(args: JsonObject, signal: AbortSignal): Promise<JsonValue>
}

interface Serving extends Pick<Surroundings, 'stdin' | 'stdout'> {
  readonly version: string
  readonly instructions: string
  readonly failed: (error: Error) => void
}

/** Tools that are served. */
export interface Served {
  /** Resolves when the input has ended, and every request in it is answered; or when an answer cannot be written. */
  readonly ended: Promise<void>
  close(): Promise<void>
}

/**
 * Serves tools over stdin and stdout by the Model Context Protocol.
 *
 * Only this file needs the SDK. The build bundles both into one file, so that users need not install the SDK.
 */
export function serveTools(
  tools: readonly Tool[],
  { stdin, stdout, version, instructions, failed }: Serving,
): Served {
  const transport = new StdioTransport(stdin, stdout)
  const served = serveStdio(
    () => {
      const server = new McpServer({ name: 'runcast', version }, { instructions })
      for (const tool of tools) {
        const { name, description, input, reads } = tool
        const annotations = { readOnlyHint: reads, destructiveHint: !reads, openWorldHint: false }
        const inputSchema = fromJsonSchema<JsonObject>(input)
        server.registerTool(name, { description, inputSchema, annotations }, async (args, { mcpReq }) => {
          try {
            return { content: [{ type: 'text', text: JSON.stringify(await tool.call(args, mcpReq.signal)) }] }
          } catch (error) {
            const text = error instanceof Error ? error.message : String(error)
            return { content: [{ type: 'text', text }], isError: true }
          }
        })
      }
      return server
    },
    { onerror: failed, transport },
  )
  return { ended: transport.ended, close: () => served.close() }
}

/** The answer to a request of this method comes when the connection closes. */
const listenMethod = 'subscriptions/listen'

/**
 * Messages over stdin and stdout, one on each line. The SDK's own transport closes when the input ends, and then answers
 * nothing that it has read.
 */
class StdioTransport implements Transport {
  readonly ended: Promise<void>
  onclose: Transport['onclose']
  onerror: Transport['onerror']
  onmessage: Transport['onmessage']
  readonly #stdin: Surroundings['stdin']
  readonly #stdout: Surroundings['stdout']
  readonly #buffer = new ReadBuffer()
  readonly #unanswered = new Set<RequestId>()
  #inputEnded = false
  #end: () => void = () => undefined

  constructor(stdin: Surroundings['stdin'], stdout: Surroundings['stdout']) {
    this.#stdin = stdin
    this.#stdout = stdout
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  async start(): Promise<void> {
    this.#stdin
      .on('data', this.#read)
      .on('error', this.#fail)
      .once('end', this.#close)
      .once('close', this.#close)
    this.#stdout.on('error', this.#fail)
  }

  async send(message: JSONRPCMessage): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#stdout.write(serializeMessage(message), (error) => (error ? reject(error) : resolve()))
    })
    if (!('method' in message) && message.id !== undefined) this.#settle(message.id)
  }

  async close(): Promise<void> {
    this.#stdin.off('data', this.#read).pause()
    this.#buffer.clear()
    this.#end()
    this.onclose?.()
  }

  readonly #read = (chunk: Buffer): void => {
    try {
      this.#buffer.append(chunk)
    } catch (error) {
      return this.#fail(error as Error)
    }
    for (;;) {
      try {
        const message = this.#buffer.readMessage()
        if (message === null) return
        this.#receive(message)
      } catch (error) {
        // A line that is no message; the next one may be.
        this.onerror?.(error as Error)
      }
    }
  }

  #receive(message: JSONRPCMessage): void {
    if (isJSONRPCRequest(message) && message.method !== listenMethod) this.#unanswered.add(message.id)
    this.onmessage?.(message)
    // A cancelled request is not answered.
    if (!isJSONRPCNotification(message) || message.method !== 'notifications/cancelled') return
    this.#settle(message.params?.['requestId'] as RequestId)
  }

  readonly #close = (): void => {
    this.#inputEnded = true
    if (this.#unanswered.size === 0) this.#end()
  }

  readonly #fail = (error: Error): void => {
    this.onerror?.(error)
    this.#end()
  }

  #settle(id: RequestId): void {
    this.#unanswered.delete(id)
    if (this.#inputEnded && this.#unanswered.size === 0) this.#end()
  }
}
