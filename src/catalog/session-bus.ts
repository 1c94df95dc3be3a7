import { type Section, traits } from './section.js'
import { defaultTraits } from './traits.js'

const critical = traits({ critical: true })
const replayed = traits({ critical: true, replay: 'all' })
const ending = traits({ critical: true, rollup: true, status: 'ended' })
const trigger = traits({ replay: 'latest', key: 'trigger_id' })

/** What an agent framework's session bus says: executions, their loops, tools, language model and triggers. */
export const sessionBus: Section = {
  client_output_delta: traits({ level: 'delta', replay: 'all', merge: { text: 'content' } }),
  client_input_requested: replayed,
  client_input_received: replayed,
  llm_reasoning_delta: traits({ level: 'delta', replay: 'all', merge: { text: 'content' } }),
  llm_text_delta: traits({ level: 'delta', merge: { text: 'content' } }),
  tool_call_started: defaultTraits,
  tool_call_completed: defaultTraits,
  execution_started: traits({ critical: true, replay: 'all', status: 'running' }),
  execution_completed: ending,
  execution_failed: ending,
  execution_paused: traits({ level: 'control', critical: true, status: 'paused' }),
  node_loop_started: critical,
  node_loop_iteration: critical,
  node_loop_completed: defaultTraits,
  llm_turn_complete: defaultTraits,
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
  credentials_required: critical,
  subagent_report: traits({ rollup: true }),
  queen_phase_changed: critical,
  trigger_available: trigger,
  trigger_activated: trigger,
  trigger_deactivated: trigger,
  trigger_fired: defaultTraits,
  trigger_removed: trigger,
  trigger_updated: trigger,
}
