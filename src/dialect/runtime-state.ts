import { type Dialect, dataBlock } from '../codec/dialect.js'
import { actions, lifecycle } from './runtime-actions.js'

/** `GET /events`: the runtime's events, and the state: first all of it, then its changes. */
export const runtimeState: Dialect = {
  name: 'runtime-state',
  stream: {
    ...actions,
    routes: [{ path: '/events', topic: (session) => `sessions/${session}` }],
    // Reserved slices belong to the hub, not to the runtime.
    follow: ({ list }) => ({ types: lifecycle, slices: list('slices') ?? ['*', '!$*'] }),
    snapshot: (slices, nowMs) =>
      dataBlock({ type: 'state.initial', slices, timestamp: nowMs }, 'state.initial'),
  },
}
