import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import type { Test } from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'

/*
 * Clients that others wrote, against what the hub tells them: in the shape that they were published in, and of the
 * built-in catalog. `npm ci --prefix test/clients` installs them.
 */
export const skip = existsSync(new URL('node_modules/ai6', import.meta.url))
  ? false
  : 'npm ci --prefix test/clients'

// They have types that this project does not need to check.
// oxlint-disable-next-line typescript/no-explicit-any -- what they export is theirs
export type Client = any
export const load = (name: string): Promise<Client> => import(name)

/** One whose modules require each other in circles, which the hooks of the test runner do not allow. */
export async function loadBundled(t: Test, name: string): Promise<Client> {
  const file = join(t.testdir(), 'client.mjs')
  const contents = `export * from '${name}'`
  const resolveDir = fileURLToPath(new URL('.', import.meta.url))
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"
  await build({
    stdin: { contents, resolveDir },
    outfile: file,
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: banner },
    logLevel: 'error',
  })
  return load(pathToFileURL(file).href)
}

/** An agent that says the same in two ways. */
export interface Voice {
  readonly name: string
  begin(): Promise<void>
  text(text: string): Promise<void>
  call(id: string, name: string, input: JsonValue): Promise<void>
  result(id: string, name: string, result: JsonValue): Promise<void>
  end(): Promise<void>
  fail(error: string): Promise<void>
}

export function catalogVoice(hub: Hub, session: string): Voice {
  const say = async (type: string, data: JsonObject) => void hub.session(session).publish({ type, data })
  return {
    name: 'the built-in catalog',
    begin: () => say('execution_started', { model: 'm' }),
    text: (content) => say('client_output_delta', { content }),
    call: (id, name, input) =>
      say('tool_call_started', { tool_use_id: id, tool_name: name, tool_input: input }),
    result: (id, name, result) =>
      say('tool_call_completed', { tool_use_id: id, tool_name: name, result, is_error: false }),
    end: () => say('execution_completed', {}),
    fail: (error) => say('execution_failed', { error }),
  }
}

/** @param objects what each says, in the shape of the dialect */
export function ownVoice(
  url: string,
  session: string,
  dialect: string,
  objects: Record<Exclude<keyof Voice, 'name'>, (...given: never[]) => JsonObject[]>,
): Voice {
  const post = async (lines: readonly JsonObject[]) => {
    const answer = await fetch(`${url}/api/sessions/${session}/events?dialect=${dialect}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    })
    if (!answer.ok) throw new Error(await answer.text())
  }
  const say =
    (name: Exclude<keyof Voice, 'name'>) =>
    (...given: unknown[]) =>
      post(objects[name](...(given as never[])))
  return {
    name: 'its own shape',
    begin: say('begin'),
    text: say('text'),
    call: say('call'),
    result: say('result'),
    end: say('end'),
    fail: say('fail'),
  }
}

export function langGraphVoice(url: string, session: string): Voice {
  const chunk = (fields: JsonObject) => ({
    event: 'messages',
    data: [{ type: 'AIMessageChunk', id: 'm', content: '', ...fields }, { langgraph_node: 'n' }],
  })
  const result = (id: string, name: string, content: JsonObject[string]) => ({
    event: 'messages',
    data: [
      { type: 'tool', id: `result-${id}`, tool_call_id: id, name, content },
      { langgraph_node: 'tools' },
    ],
  })
  return ownVoice(url, session, 'langgraph', {
    begin: () => [{ event: 'metadata', data: { run_id: session } }],
    text: (content: string) => [chunk({ content })],
    call: (id: string, name: string, input: JsonObject) => [
      chunk({ tool_call_chunks: [{ id, name, args: '', index: 0 }] }),
      chunk({ tool_call_chunks: [{ id: null, name: null, args: JSON.stringify(input), index: 0 }] }),
    ],
    result: (id: string, name: string, content: JsonObject[string]) => [result(id, name, content)],
    end: () => [{ event: 'end', data: null }],
    fail: (text: string) => [{ event: 'error', data: { error: 'RunFailed', message: text } }],
  })
}

export function aiSdkVoice(url: string, session: string): Voice {
  let part = 0
  return ownVoice(url, session, 'ai-sdk', {
    begin: () => [{ type: 'start' }, { type: 'start-step' }, { type: 'text-start', id: `${++part}` }],
    text: (delta: string) => [{ type: 'text-delta', id: `${part}`, delta }],
    call: (toolCallId: string, toolName: string, input: JsonValue) => [
      { type: 'text-end', id: `${part}` },
      { type: 'tool-input-start', toolCallId, toolName },
      { type: 'tool-input-delta', toolCallId, inputTextDelta: JSON.stringify(input) },
      { type: 'tool-input-available', toolCallId, toolName, input },
      { type: 'text-start', id: `${++part}` },
    ],
    result: (toolCallId: string, _: string, output: JsonValue) => [
      { type: 'tool-output-available', toolCallId, output },
    ],
    end: () => [
      { type: 'text-end', id: `${part}` },
      { type: 'finish-step' },
      { type: 'finish', finishReason: 'stop' },
    ],
    fail: (errorText: string) => [{ type: 'error', errorText }],
  })
}

export function agUiVoice(url: string, session: string): Voice {
  let run = 0
  let message = 0
  const id = () => `m${run}.${message}`
  return ownVoice(url, session, 'ag-ui', {
    begin: () => [
      { type: 'RUN_STARTED', threadId: session, runId: `r${++run}` },
      { type: 'TEXT_MESSAGE_START', messageId: id(), role: 'assistant' },
    ],
    text: (delta: string) => [{ type: 'TEXT_MESSAGE_CONTENT', messageId: id(), delta }],
    call: (toolCallId: string, toolCallName: string, input: JsonValue) => [
      { type: 'TEXT_MESSAGE_END', messageId: id() },
      { type: 'TOOL_CALL_START', toolCallId, toolCallName },
      { type: 'TOOL_CALL_ARGS', toolCallId, delta: JSON.stringify(input) },
      { type: 'TOOL_CALL_END', toolCallId },
    ],
    result: (toolCallId: string, _: string, result: JsonValue) => [
      { type: 'TOOL_CALL_RESULT', messageId: `${toolCallId}-r`, toolCallId, content: JSON.stringify(result) },
      { type: 'TEXT_MESSAGE_START', messageId: `m${run}.${++message}`, role: 'assistant' },
    ],
    end: () => [
      { type: 'TEXT_MESSAGE_END', messageId: id() },
      { type: 'RUN_FINISHED', threadId: session, runId: `r${run}` },
    ],
    fail: (error: string) => [{ type: 'RUN_ERROR', message: error }],
  })
}

export const shut = (hub: Hub, session: string) => hub.removeSession(session)

/** What `ai` 7 says of itself. */
export const tooOld =
  Number(process.versions.node.split('.')[0]) < 22 && `ai 7 wants Node 22; this is ${process.version}`
export const skipOf = (version: string) => skip || (version === 'ai7' && tooOld)
