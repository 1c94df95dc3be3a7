import { type Section, traits } from './section.js'

const replayed = traits({ replay: 'all' })

/** The log of one task. The hub itself publishes `complete` when a session ends. */
export const taskLog: Section = {
  assistant: replayed,
  toolcall: traits({ replay: 'all', tool: 'call' }),
  toolresult: traits({ replay: 'all', tool: 'result' }),
  cost: replayed,
  error: traits({ critical: true, replay: 'all', status: 'ended', ends: 'failed' }),
  complete: traits({ critical: true, replay: 'all', status: 'ended' }),
}
