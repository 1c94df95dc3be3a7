import type { Fields, Json } from './model.js'

/** The paths in `data` of growing text, by type: the types that the hub's catalog merges. */
const growing: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    llm_reasoning_delta: ['content'],
    llm_text_delta: ['content'],
    client_output_delta: ['content'],
    'text-delta': ['delta'],
    'data-text-delta': ['delta'],
    'tool-input-delta': ['input_text_delta'],
    'data-tool-input-delta': ['input_text_delta'],
    content_block_delta: ['delta.text', 'delta.thinking', 'delta.partial_json'],
    'ai-sdk.text-delta': ['delta'],
    'ai-sdk.reasoning-delta': ['delta'],
    'ai-sdk.tool-input-delta': ['inputTextDelta'],
    TEXT_MESSAGE_CONTENT: ['delta'],
    TEXT_MESSAGE_CHUNK: ['delta'],
    TOOL_CALL_ARGS: ['delta'],
    TOOL_CALL_CHUNK: ['delta'],
    REASONING_MESSAGE_CONTENT: ['delta'],
    REASONING_MESSAGE_CHUNK: ['delta'],
    'langgraph.messages': ['0.content'],
    'chat.completion.chunk': ['choices.0.delta.content', 'choices.0.delta.reasoning_content'],
  }),
)
/** These types of the Responses API have their text in `delta`. */
const responses = /^response\..+\.delta$/

export interface Piece {
  readonly text: string
  /** Its path in the data. Pieces with other paths belong to other texts. */
  readonly path: string
}

/** @returns the text that an event appends to a growing text; undefined if it appends none */
export function pieceOf(type: string, data: Json): Piece | undefined {
  const paths = growing.get(type) ?? (responses.test(type) ? ['delta'] : [])
  for (const path of paths) {
    const text = valueAt(data, path)
    if (typeof text === 'string') return { text, path }
  }
  return undefined
}

/** Whether a text is prose for a person, rather than code, arguments or reasoning of a model. */
export function isProse({ type, path }: { readonly type: string; readonly path: string }): boolean {
  return !/input|argument|ARGS|CALL|code|json|reasoning|REASONING|thinking/.test(`${type} ${path}`)
}

function valueAt(data: Json, path: string): Json | undefined {
  let value: Json | undefined = data
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Fields)[name]
  }
  return value
}
