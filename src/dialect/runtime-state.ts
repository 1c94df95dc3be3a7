import { type Dialect, dataBlock } from '../codec/dialect.js'
import { actions, lifecycle } from './runtime-actions.js'

/** `GET /events`: what the runtime does, and the state: all of it first, then what changes. */
export const runtimeState: Dialect = {
  name: 'runtime-state',
  stream: {
    ...actions,
    routes: [{ path: '/events', topic: (session) => `sessions/${session}` }],
    // The slices that the hub keeps itself are none of the runtime's.
    follow: ({ list }) => ({ types: lifecycle, slices: list('slices') ?? ['*', '!$*'] }),
    snapshot: (slices, nowMs) =>
      dataBlock({ type: 'state.initial', slices, timestamp: nowMs }, 'state.initial'),
  },
}
