import type { Changes } from '../client/subscription.js'
import type { AnyCatalog, EventOf } from '../client/typed.js'

export type Json = AnyCatalog[string]
export type Fields = { readonly [name: string]: Json }
export type PanelEvent = EventOf<AnyCatalog>
export type PanelMode = NonNullable<Changes['mode']>

/** The modes that a panel offers. */
export const panelModes: readonly PanelMode[] = ['full', 'summary', 'control']

/** @returns the value's fields; none if it is not an object */
export function fieldsOf(value: Json | undefined): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

/** Whether a value contains other values. */
export function isBranch(value: Json): value is Json[] | Fields {
  return typeof value === 'object' && value !== null
}

/** @returns the first of the named fields that is text; empty if none is */
export function textOf(fields: Fields, names: readonly string[]): string {
  for (const name of names) {
    const value = fields[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return ''
}
