import { Command } from 'commander'
import { WebSocket } from 'ws'
import { connect } from '../client/client.js'
import { packageVersion } from '../server/version.js'
import { exitCodes, exitCodesHelp } from './exit-codes.js'
import { instructions, toolsOf } from './mcp/mcp-tools.js'
import { hubOf, hubOption, tokenOption } from './options.js'
import type { Surroundings } from './surroundings.js'

interface McpOptions {
  readonly hub: string
  readonly token?: string
}

const examples = `
The tools: list_sessions, read_events, read_state, wait_for_result, answer_need, send_command.

Examples:
  $ claude mcp add runcast -- npx runcast mcp
  $ RUNCAST_TOKEN=… runcast mcp --hub https://hub.example
${exitCodesHelp}`

export function mcpCommand(surroundings: Surroundings): Command {
  return new Command('mcp')
    .summary('let a coding agent read sessions, answer and steer, by MCP')
    .description(
      'Serves the hub to a coding agent by the Model Context Protocol, over stdin and stdout, with the rights of its token.',
    )
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .addHelpText('after', examples)
    .action((options: McpOptions) => serve(options, surroundings))
}

async function serve(options: McpOptions, surroundings: Surroundings): Promise<void> {
  const { env, stdin, stdout, stderr } = surroundings
  const hub = hubOf(options, env)
  const { url, token } = hub
  const { serveTools } = await import('./mcp/mcp-protocol.js')
  const client = connect(url.href, { WebSocket, timeoutMs: 20_000, ...(token !== undefined && { token }) })
  const tell = (text: string) => stderr.write(`runcast: ${text}\n`)
  client.onStatus((status) => {
    if (status.kind === 'waiting') tell(`cannot reach ${url.href}: ${status.reason}; tries again`)
    if (status.kind === 'closed' && status.code !== 1000) tell(`the hub refused: ${status.reason}`)
  })
  const server = serveTools(toolsOf(client, hub), {
    stdin,
    stdout,
    version: packageVersion(),
    instructions,
    failed: ({ message }) => tell(message),
  })
  await new Promise<void>((resolve) => {
    surroundings.onSignal(() => resolve())
    void server.ended.then(resolve)
  })
  client.close()
  hub.close()
  await server.close()
  process.exitCode = exitCodes.ok
}
