import type { Dialect } from '../codec/dialect.js'
import { agUi } from './ag-ui.js'
import { aiSdk } from './ai-sdk.js'
import { executionLog } from './execution-log.js'
import { langgraph } from './langgraph.js'
import { langgraphEvents } from './langgraph-events.js'
import { openaiResponses } from './openai-responses.js'
import { runtimeActions } from './runtime-actions.js'
import { runtimeState } from './runtime-state.js'
import { sessionBus } from './session-bus.js'
import { streamEvent } from './stream-event.js'
import { taskLog } from './task-log.js'

export const builtInDialects: readonly Dialect[] = [
  sessionBus,
  runtimeState,
  runtimeActions,
  streamEvent,
  executionLog,
  taskLog,
  aiSdk,
  openaiResponses,
  agUi,
  langgraph,
  langgraphEvents,
]
