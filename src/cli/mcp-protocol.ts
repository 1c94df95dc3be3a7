import { fromJsonSchema, McpServer } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import type { JsonObject, JsonValue } from '../lib/json.js'

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

/**
 * Serves tools over stdin and stdout by the Model Context Protocol.
 *
 * Only this file needs the SDK. The build bundles both into one file, so that users need not install the SDK.
 *
 * @returns a function that ends it
 */
export function serveTools(
  tools: readonly Tool[],
  {
    version,
    instructions,
    failed,
  }: { readonly version: string; readonly instructions: string; readonly failed: (error: Error) => void },
): { close(): Promise<void> } {
  return serveStdio(
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
    { onerror: failed },
  )
}
