import type { JsonObject } from '../lib/json.js'
import { hasFields } from './read-frame.js'

/** The required fields of a block, by the name of its event. */
const needed: Readonly<Record<string, string>> = {
  'hub.open': '$connection',
  'hub.close': 'code',
  'hub.subscribed': '$epoch offset',
  'hub.gap': 'offset',
  'hub.live': 'offset',
  'state.part': '$slice index $text',
}

/** @returns the data of a block; undefined if required fields are missing */
export function readBlock(name: string, text: string): JsonObject | undefined {
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch {
    return undefined
  }
  return isBlock(name, data) ? (data as JsonObject) : undefined
}

function isBlock(name: string, data: unknown): boolean {
  if (typeof data !== 'object' || data === null) return false
  if (name === 'state.initial') {
    const { slices } = ((data as JsonObject)['data'] ?? {}) as JsonObject
    return typeof slices === 'object' && slices !== null
  }
  if (Object.hasOwn(needed, name)) return hasFields(data, needed[name] as string)
  return name.startsWith('hub.') || hasFields(data, 'offset $type')
}
