import type { JsonObject } from '../lib/json.js'
import { agUi } from './ag-ui.js'
import { aiSdk } from './ai-sdk.js'
import { anthropic } from './anthropic.js'
import { claudeCode } from './claude-code.js'
import { claudeLog } from './claude-log.js'
import { codex } from './codex.js'
import type { IngestKind } from './ingest.js'
import { langgraph } from './langgraph.js'
import { openaiChat } from './openai-chat.js'
import { openaiResponses } from './openai-responses.js'
import { otlp } from './otlp.js'

/** The kinds of `--from` and `?from=`, by name. */
export const ingestKinds: ReadonlyMap<string, IngestKind> = new Map(
  [claudeCode, anthropic, openaiResponses, openaiChat, aiSdk, agUi, langgraph, otlp, claudeLog, codex].map(
    (kind) => [kind.name, kind],
  ),
)

/** @returns the only kind that fits the object; nothing if none or several fit */
export function recognize(value: JsonObject): IngestKind | undefined {
  const found = [...ingestKinds.values()].filter((kind) => kind.recognizes(value))
  return found.length === 1 ? found[0] : undefined
}
