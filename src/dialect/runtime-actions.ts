import { type Dialect, type DialectStream, dataBlock } from '../codec/dialect.js'
import type { JsonObject } from '../lib/json.js'
import type { HubEvent, StateUpdate } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'

/** Events that clients get in addition to the state. */
export const lifecycle = ['execution.status', 'custom-event']

/** An event stream of a runtime: named events, whose ids count from 1 in each response. */
export const actions: DialectStream = {
  routes: [{ path: '/stream/actions', topic: (session) => `sessions/${session}` }],
  ids: 'count',
  unknown: 'wait',
  follow: () => ({ types: lifecycle }),
  block: (event) => {
    const object = runtimeEvent(event)
    return object === undefined ? '' : dataBlock(object, object.type as string)
  },
  heartbeat: (nowMs) => dataBlock({ type: 'heartbeat', timestamp: nowMs }, 'heartbeat'),
}

/** `GET /stream/actions`: the runtime's events and heartbeats. */
export const runtimeActions: Dialect = { name: 'runtime-actions', stream: actions }

function runtimeEvent({ type, time: timestamp, data }: HubEvent): JsonObject | undefined {
  switch (type) {
    case 'state.update':
      return { type, ...change(data as StateUpdate), timestamp }
    case 'execution.status':
      return { type, ...fieldsOf(data), timestamp }
    case 'custom-event':
      return { type, data, timestamp }
    default:
      return undefined
  }
}

/** A removed slice is sent as null. */
function change(update: StateUpdate): JsonObject {
  const { slice, cause } = update
  return {
    slice,
    ...('patch' in update ? { patches: update.patch } : { value: 'value' in update ? update.value : null }),
    ...(cause !== undefined && { cause }),
  }
}
