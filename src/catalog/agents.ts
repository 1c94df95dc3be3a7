import { type Section, traits } from './section.js'
import type { Result } from './traits.js'

/*
 * The output of agents and model APIs, published in its own shape. Events that open or close a text are critical: a client
 * cannot use deltas without them, so they must not be evicted before the deltas.
 */
const replayed = traits({ replay: 'all' })
const critical = traits({ critical: true, replay: 'all' })
const opening = traits({ critical: true, replay: 'all', status: 'running' })
const ending = (ends: Result) => traits({ critical: true, replay: 'all', status: 'ended', ends })
const delta = (text: string | readonly string[], ...ignore: readonly string[]) =>
  traits({
    level: 'delta',
    replay: 'all',
    merge: { text, ...(ignore.length > 0 && { ignore }) },
  })

/** The Messages API of Anthropic, streamed. */
export const anthropic: Section = {
  message_start: critical,
  content_block_delta: delta(['delta.text', 'delta.thinking', 'delta.partial_json']),
  'content_block_*': critical,
  message_delta: replayed,
  message_stop: critical,
}

const piece = delta('delta', 'sequence_number', 'obfuscation')

/** The Responses API of OpenAI. */
export const openaiResponses: Section = {
  'response.created': opening,
  'response.output_item.added': critical,
  'response.content_part.added': critical,
  'response.reasoning_summary_part.added': critical,
  'response.output_text.delta': piece,
  'response.refusal.delta': piece,
  'response.reasoning_text.delta': piece,
  'response.reasoning_summary_text.delta': piece,
  'response.function_call_arguments.delta': piece,
  'response.mcp_call_arguments.delta': piece,
  'response.code_interpreter_call_code.delta': piece,
  'response.custom_tool_call_input.delta': piece,
  'response.output_item.done': critical,
  'response.completed': ending('succeeded'),
  'response.incomplete': ending('failed'),
  'response.failed': ending('failed'),
  'response.cancelled': ending('cancelled'),
  'response.*': replayed,
}

/** The UI message stream of the AI SDK, each part's type with the prefix `ai-sdk.`. */
export const aiSdk: Section = {
  'ai-sdk.start': opening,
  'ai-sdk.text-delta': delta('delta'),
  'ai-sdk.reasoning-delta': delta('delta'),
  'ai-sdk.tool-input-delta': delta('inputTextDelta'),
  'ai-sdk.text-*': critical,
  'ai-sdk.reasoning-*': critical,
  'ai-sdk.tool-*': critical,
  'ai-sdk.start-step': critical,
  'ai-sdk.finish-step': critical,
  'ai-sdk.finish': ending('succeeded'),
  // The SDK sends this after an error.
  'ai-sdk.finish-failed': ending('failed'),
  'ai-sdk.abort': ending('cancelled'),
  'ai-sdk.error': ending('failed'),
  'ai-sdk.*': replayed,
}

const timed = delta('delta', 'timestamp')

/** AG-UI. */
export const agUi: Section = {
  RUN_STARTED: opening,
  RUN_FINISHED: ending('succeeded'),
  RUN_ERROR: ending('failed'),
  'STEP_*': critical,
  TEXT_MESSAGE_CONTENT: timed,
  TEXT_MESSAGE_CHUNK: timed,
  'TEXT_MESSAGE_*': critical,
  TOOL_CALL_ARGS: timed,
  TOOL_CALL_CHUNK: timed,
  'TOOL_CALL_*': critical,
  REASONING_MESSAGE_CONTENT: timed,
  REASONING_MESSAGE_CHUNK: timed,
  'REASONING_*': critical,
  'SUBAGENT_*': critical,
  'STATE_*': replayed,
  MESSAGES_SNAPSHOT: replayed,
  'ACTIVITY_*': replayed,
}

/** The stream modes of LangGraph's server, each with the prefix `langgraph.`. */
export const langgraph: Section = {
  'langgraph.metadata': opening,
  'langgraph.messages': delta('data.0.content'),
  'langgraph.error': ending('failed'),
  'langgraph.end': ending('succeeded'),
  'langgraph.*': replayed,
}
