import { type Section, traits } from './section.js'
import { defaultTraits } from './traits.js'

const lost = traits({ critical: true, replay: 'latest', rollup: true })
const told = traits({ critical: true, rollup: true })

/**
 * What an agent runtime says of itself. `state.initial` and `state.update` are the hub's own, and
 * `heartbeat` is the transport's: none of them is in the catalog.
 */
export const runtime: Section = {
  // Without a key: one status for each topic.
  'execution.status': traits({ critical: true, replay: 'latest', ends: 'byStatus' }),
  'custom-event': defaultTraits,
  // A person asks an agent through a front-end.
  'chat.request': traits({ critical: true }),
  // The hub's own: a lease has run out.
  'worker.lost': lost,
  'session.lost': lost,
  // What it derives: something seems to be stuck, and a step was begun again.
  'worker.stalled': told,
  'attempt.superseded': told,
}
