import { type Section, traits } from './section.js'
import { defaultTraits } from './traits.js'

const lost = traits({ critical: true, replay: 'latest', rollup: true })
const derived = traits({ critical: true, rollup: true })
const message = traits({ critical: true, replay: 'all' })

/**
 * Events of an agent runtime. `state.initial` and `state.update` belong to the hub and `heartbeat` to the transport, so they
 * are not in the catalog.
 */
export const runtime: Section = {
  // It has no key: there is one status for each topic.
  'execution.status': traits({ critical: true, replay: 'latest', ends: 'byStatus' }),
  'custom-event': defaultTraits,
  // A person asks an agent through a front-end.
  'chat.request': traits({ critical: true }),
  // The hub publishes these when a lease expires.
  'worker.lost': lost,
  'session.lost': lost,
  // The hub publishes these when a worker seems to be stuck, and when a step begins again.
  'worker.stalled': derived,
  'attempt.superseded': derived,
  // The hub publishes these for the messages of durable streams.
  'stream.json': message,
  'stream.text': message,
  'stream.bytes': message,
  // The hub publishes this when something was redacted of events that it has published.
  redacted: derived,
}
