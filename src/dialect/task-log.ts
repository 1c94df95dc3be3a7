import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { embeddedJson } from '../lib/json-text.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'
import { fieldsOf, objectOf } from './fields.js'

const types = ['assistant', 'toolcall', 'toolresult', 'cost', 'error']

/** The log of a task: `event: <type>`, `data: <its object>`; stored events first, then live, `complete`, the end. */
export const taskLog: Dialect = {
  name: 'task-log',
  stream: {
    routes: [{ path: '/tasks/{session}/events/stream', topic: (session) => `sessions/${session}` }],
    ids: 'cursor',
    unknown: 'empty',
    follow: () => ({ types, fromStart: true }),
    block({ type, data }) {
      if (type === 'complete') return dataBlock({}, type)
      return dataBlock(type === 'toolcall' ? toolcall(data) : fieldsOf(data), type)
    },
  },
  publish: read,
}

/** Some runtimes publish their tool calls as text: `name(arguments)` or `name arguments`. */
const textCall = /^\s*([A-Za-z0-9_.:/-]+?)\s*(?:\(([\s\S]*)\)\s*|:?\s+([\s\S]*)|:?\s*([{[][\s\S]*))?$/

function toolcall(data: JsonValue): JsonObject {
  const fields = isObject(data) ? data : {}
  if (typeof fields.tool === 'string') return 'args' in fields ? fields : { ...fields, args: {} }
  const text = [data, fields.content, fields.text].find((one) => typeof one === 'string')
  if (typeof text !== 'string') return fields
  const [, tool, inner, spaced, braced] = textCall.exec(text) ?? []
  return tool === undefined
    ? { tool: text, args: {} }
    : { tool, args: embeddedJson(inner ?? spaced ?? braced ?? '', defaultLimits) }
}

/** `{ type, … }`, `{ type, data: … }`, the same with `event`, or an object whose fields show its type. */
function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an object { type, … }')
  const { type: named, event, ...rest } = object
  const type = named ?? event ?? kindOf(rest)
  if (type === 'complete') return { kind: 'end' }
  if (typeof type !== 'string' || !types.includes(type)) {
    throw new ProtocolError(
      'badFrame',
      `event.type: expected one of ${types.join(', ')}, complete, got ${quote(type)}`,
      {
        pointer: '/type',
      },
    )
  }
  const names = Object.keys(rest)
  const data = names.length === 1 && names[0] === 'data' ? (rest.data as JsonValue) : rest
  return { kind: 'event', event: { type, data } }
}

function kindOf(object: JsonObject): string | undefined {
  if ('tool' in object) return 'success' in object || 'output' in object ? 'toolresult' : 'toolcall'
  const name = ['content', 'cost', 'error'].find((field) => field in object)
  if (name !== undefined) return name === 'content' ? 'assistant' : name
  return Object.keys(object).length === 0 ? 'complete' : undefined
}
