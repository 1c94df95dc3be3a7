import { type Section, traits } from './section.js'
import { defaultTraits, type Level, type Result } from './traits.js'

const replayed = traits({ replay: 'all' })
const criticalReplayed = traits({ critical: true, replay: 'all' })
const ending = (ends: Result, level: Level = 'summary') =>
  traits({ level, critical: true, replay: 'latest', rollup: true, status: 'ended', ends })
const permission = { critical: true, replay: 'all', key: 'request_id' } as const
const latest = traits({ replay: 'latest' })

/** Events of a chat front-end's data stream, and of the execution that it shows. */
export const streamEvent: Section = {
  // Critical, because a client cannot use the deltas without it: it must not be evicted before them.
  'data-text-start': criticalReplayed,
  'data-text-delta': traits({ level: 'delta', replay: 'all', merge: { text: 'delta' } }),
  'data-text-end': replayed,
  'data-start-step': defaultTraits,
  'data-finish-step': defaultTraits,
  'data-tool-input-start': criticalReplayed,
  'data-tool-input-delta': traits({ level: 'delta', replay: 'all', merge: { text: 'input_text_delta' } }),
  'data-tool-input-available': traits({ replay: 'all', tool: 'call' }),
  'data-tool-output-available': traits({ replay: 'all', tool: 'result' }),
  'data-permission-request': traits({ ...permission, asks: 'permission' }),
  'data-permission-response': traits({ ...permission, answers: 'permission' }),
  'data-start': criticalReplayed,
  'data-finish': criticalReplayed,
  'data-error': traits({ critical: true, replay: 'all', status: 'ended', ends: 'failed' }),
  'data-execution-start': traits({ critical: true, status: 'running' }),
  'data-execution-end': ending('succeeded'),
  'data-execution-failed': ending('failed'),
  'data-execution-paused': traits({ level: 'control', critical: true, status: 'paused' }),
  'data-execution-resumed': traits({ level: 'control', critical: true, status: 'running' }),
  'data-execution-cancelled': ending('cancelled', 'control'),
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
