import { type Section, traits } from './section.js'
import { defaultTraits } from './traits.js'

const replayed = traits({ replay: 'all' })
const criticalReplayed = traits({ critical: true, replay: 'all' })
const ending = traits({ critical: true, rollup: true, status: 'ended' })
const latest = traits({ replay: 'latest' })

/** The data stream of a chat front-end, and the execution that it shows. */
export const streamEvent: Section = {
  'data-text-start': replayed,
  'data-text-delta': traits({ level: 'delta', replay: 'all', merge: { text: 'delta' } }),
  'data-text-end': replayed,
  'data-start-step': defaultTraits,
  'data-finish-step': defaultTraits,
  'data-tool-input-start': replayed,
  'data-tool-input-delta': traits({ level: 'delta', replay: 'all', merge: { text: 'input_text_delta' } }),
  'data-tool-input-available': replayed,
  'data-tool-output-available': replayed,
  'data-permission-request': criticalReplayed,
  'data-start': criticalReplayed,
  'data-finish': criticalReplayed,
  'data-error': criticalReplayed,
  'data-execution-start': traits({ critical: true, status: 'running' }),
  'data-execution-end': ending,
  'data-execution-failed': ending,
  'data-execution-paused': traits({ level: 'control', critical: true, status: 'paused' }),
  'data-execution-resumed': traits({ level: 'control', critical: true, status: 'running' }),
  'data-execution-cancelled': traits({ level: 'control', critical: true, rollup: true, status: 'ended' }),
  'data-step-start': defaultTraits,
  'data-step-end': defaultTraits,
  'data-step-failed': defaultTraits,
  'data-step-discovered': defaultTraits,
  'data-artifact-created': replayed,
  'data-state-snapshot': latest,
  'data-checkpoint-saved': defaultTraits,
  'data-goal-evaluated': defaultTraits,
  'data-inbox-message': defaultTraits,
  'data-policy-decision': defaultTraits,
  'data-llm-call-start': defaultTraits,
  'data-llm-call-end': defaultTraits,
  'data-llm-call-failed': defaultTraits,
  'data-token-usage': defaultTraits,
  'data-memory-recalled': defaultTraits,
  'data-memory-stored': defaultTraits,
  'data-guardrail-evaluated': defaultTraits,
  'data-reasoning-trace': defaultTraits,
  'data-context-snapshot': latest,
  'data-feedback-received': defaultTraits,
}
