import { chooseTransport } from '../../src/transport/choice.js'
import type { uwsTransport } from '../../src/transport/uws.js'
import { transportOptions } from '../conformance/transport-kit.js'

// As a server does, which tells the addon first how large a head may be.
const loaded = await chooseTransport('uws', transportOptions)
  .then(() => import('../../src/transport/uws.js'))
  .catch(String)
// The package says first what it supports, and then what was wrong.
const reason = typeof loaded === 'string' && (/\nError: (.+)/.exec(loaded)?.[1] ?? loaded)

/** Options of tests that need uWebSockets.js: skipped, with the reason, where its addon does not load. */
export const onUws = { skip: reason }

/** The transport of uWebSockets.js, for tests with the options `onUws`. */
export const uws: typeof uwsTransport = (...given) => {
  if (typeof loaded === 'string') throw new Error(loaded)
  return loaded.uwsTransport(...given)
}
