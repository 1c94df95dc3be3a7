import { type Section, traits } from './section.js'
import { defaultTraits, type Result } from './traits.js'

const critical = traits({ critical: true })
const ending = (ends: Result) =>
  traits({ critical: true, replay: 'latest', rollup: true, status: 'ended', ends })
const asking = { critical: true, key: 'request_id' } as const
const trigger = traits({ replay: 'latest', key: 'trigger_id' })

/** Events of an agent framework's session bus: executions, their loops, tools, language model and triggers. */
export const sessionBus: Section = {
  client_output_delta: traits({ level: 'delta', replay: 'all', merge: { text: 'content' } }),
  client_input_requested: traits({ ...asking, replay: 'all', asks: 'input' }),
  client_input_received: traits({ ...asking, replay: 'all', answers: 'input' }),
  llm_reasoning_delta: traits({ level: 'delta', replay: 'all', merge: { text: 'content' } }),
  llm_text_delta: traits({ level: 'delta', merge: { text: 'content' } }),
  tool_call_started: traits({ replay: 'all', tool: 'call' }),
  tool_call_completed: traits({ replay: 'all', tool: 'result' }),
  execution_started: traits({ critical: true, replay: 'all', status: 'running' }),
  execution_completed: ending('succeeded'),
  execution_failed: ending('failed'),
  execution_paused: traits({ level: 'control', critical: true, status: 'paused' }),
  node_loop_started: critical,
  node_loop_iteration: critical,
  node_loop_completed: defaultTraits,
  llm_turn_complete: traits({ usage: true }),
  node_action_plan: defaultTraits,
  goal_progress: defaultTraits,
  node_internal_output: defaultTraits,
  node_stalled: defaultTraits,
  node_retry: defaultTraits,
  node_tool_doom_loop: defaultTraits,
  context_compacted: defaultTraits,
  context_usage_updated: defaultTraits,
  worker_colony_loaded: defaultTraits,
  worker_graph_loaded: critical,
  colony_created: defaultTraits,
  credentials_required: traits({ ...asking, asks: 'credentials' }),
  credentials_provided: traits({ ...asking, answers: 'credentials' }),
  subagent_report: traits({ rollup: true }),
  queen_phase_changed: critical,
  trigger_available: trigger,
  trigger_activated: trigger,
  trigger_deactivated: trigger,
  trigger_fired: defaultTraits,
  trigger_removed: trigger,
  trigger_updated: trigger,
}
