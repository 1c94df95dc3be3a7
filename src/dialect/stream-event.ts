import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import type { JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { fieldsOf, objectOf, textField } from './fields.js'

const prefix = 'data-'

/** Types that clients do not expect in a replay. */
const notReplayed = [
  'data-execution-end',
  'data-execution-failed',
  'data-execution-cancelled',
  'data-permission-response',
]

/** The data stream of a chat front-end: `data: {"type":"data-…", …}`, and `data: [DONE]` at the end. */
export const streamEvent: Dialect = {
  name: 'stream-event',
  stream: {
    routes: [{ path: '/api/sessions/{session}/stream', topic: (session) => `sessions/${session}` }],
    ids: 'cursor',
    unknown: 'wait',
    follow: ({ list }) => ({ types: list('types') ?? [`${prefix}*`], notReplayed }),
    block({ type, data }) {
      if (type === 'complete') return 'data: [DONE]\n\n'
      const { type: _, ...fields } = fieldsOf(data)
      return dataBlock({ type, ...fields })
    },
  },
  publish: read,
}

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an object { type: "data-…", … }')
  const type = textField(object, 'type')
  if (!type.startsWith(prefix)) {
    throw new ProtocolError(
      'badFrame',
      `event.type: expected a type that begins with data-, got ${quote(type)}`,
      {
        pointer: '/type',
      },
    )
  }
  const { type: _, ...data } = object
  return { kind: 'event', event: { type, data } }
}
