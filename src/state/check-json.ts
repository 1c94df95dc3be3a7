import { explainFault, type JsonValue, measure } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'

/** @throws ProtocolError `badFrame` with the place when the value is not JSON, or nested deeper than `levelsMax` */
export function checkJson(value: JsonValue, levelsMax: number, pointer = ''): void {
  if (measure(value, levelsMax) >= 0) return
  const fault = explainFault(value, levelsMax, pointer)
  throw new ProtocolError('badFrame', `value: ${fault.problem}`, { pointer: fault.pointer })
}
