import { isObject } from '../lib/json.js'
import { quote } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'
import { expectedType, isType, type NameLimits } from '../protocol/topic.js'
import { agUi, aiSdk, anthropic, langgraph, openaiResponses } from './agents.js'
import { commandSection } from './command.js'
import type { Merge } from './merge.js'
import { processSection } from './process.js'
import { runtime } from './runtime.js'
import type { Section } from './section.js'
import { sessionBus } from './session-bus.js'
import { streamEvent } from './stream-event.js'
import { taskLog } from './task-log.js'
import { defaultTraits, levels, results, type Traits } from './traits.js'

/** Additions of users to the built-in catalog, by event type or `prefix*`: only the traits that differ. */
export type Extensions = Readonly<Record<string, Partial<Traits>>>

type TypeLimits = Pick<NameLimits, 'typeLengthMax'>

export type SectionName =
  | 'session-bus'
  | 'stream-event'
  | 'runtime'
  | 'task-log'
  | 'process'
  | 'anthropic'
  | 'openai-responses'
  | 'ai-sdk'
  | 'ag-ui'
  | 'langgraph'
  | 'command'

/** The table of known event types. Immutable. */
export interface Catalog {
  /**
   * One lookup; returns the same frozen object each time, `defaultTraits` itself for an unknown type. A type that is not listed
   * has the traits of the longest matching `prefix*`.
   */
  traitsOf(type: string): Traits
  knows(type: string): boolean
  /** Every known type and `prefix*`: the built-in ones in documented order, then the users'. */
  types(): Iterable<[string, Traits]>
  /** The built-in types by section. */
  readonly sections: Readonly<Record<SectionName, readonly string[]>>
}

const builtIn: Readonly<Record<SectionName, Section>> = {
  'session-bus': sessionBus,
  'stream-event': streamEvent,
  runtime,
  'task-log': taskLog,
  process: processSection,
  anthropic,
  'openai-responses': openaiResponses,
  'ai-sdk': aiSdk,
  'ag-ui': agUi,
  langgraph,
  command: commandSection,
}

const sections: Catalog['sections'] = Object.freeze({
  'session-bus': Object.keys(sessionBus),
  'stream-event': Object.keys(streamEvent),
  runtime: Object.keys(runtime),
  'task-log': Object.keys(taskLog),
  process: Object.keys(processSection),
  anthropic: Object.keys(anthropic),
  'openai-responses': Object.keys(openaiResponses),
  'ai-sdk': Object.keys(aiSdk),
  'ag-ui': Object.keys(agUi),
  langgraph: Object.keys(langgraph),
  command: Object.keys(commandSection),
})

// Bounds the cache of types that are not listed, because producers choose their names.
const prefixedTypesMax = 4_096

/**
 * @param extensions merged over the built-in traits of the type, or over the default traits
 * @throws Error that names the type and the trait when an extension is not valid
 */
export function createCatalog(extensions: Extensions = {}, limits: TypeLimits = defaultLimits): Catalog {
  const table = new Map<string, Traits>()
  for (const section of Object.values(builtIn)) {
    for (const [type, traits] of Object.entries(section)) table.set(type, traits)
  }
  // Callers may have no type checker, so their extensions are checked like those of a config file.
  for (const [type, differing] of Object.entries(catalogFromConfig(extensions, limits))) {
    table.set(
      type,
      Object.freeze(withImplied({ ...(table.get(type) ?? defaultTraits), ...differing }, differing)),
    )
  }
  const prefixes = [...table.keys()]
    .filter((name) => name.endsWith('*'))
    .sort((one, other) => other.length - one.length)
  // The types of the table and the others together, so that one look-up finds either.
  const known = new Map(table)
  const knownMax = table.size + prefixedTypesMax
  const byPrefix = (type: string): Traits => {
    const name = prefixes.find((prefix) => type.startsWith(prefix.slice(0, -1)))
    const traits = name === undefined ? defaultTraits : (table.get(name) as Traits)
    if (known.size < knownMax) known.set(type, traits)
    return traits
  }
  const traitsOf = (type: string): Traits => known.get(type) ?? byPrefix(type)
  return {
    traitsOf,
    knows: (type) => table.has(type) || traitsOf(type) !== defaultTraits,
    types: () => table.entries(),
    sections,
  }
}

/**
 * Adds implied traits unless the extension sets them: a type with `ends` has `status: 'ended'` and is replayed to late joiners;
 * a command is critical and passes every mode but `silent`.
 */
function withImplied(traits: Traits, differing: Partial<Traits>): Traits {
  const { ends, status, replay, command, critical, level } = differing
  const steering = command && { critical: critical ?? true, level: level ?? ('control' as const) }
  if (ends === undefined || ends === 'byStatus') return { ...traits, ...steering }
  return {
    ...traits,
    ...steering,
    status: status ?? 'ended',
    replay: replay ?? (traits.replay || 'latest'),
  }
}

const traitNames = [
  'level',
  'critical',
  'replay',
  'key',
  'rollup',
  'merge',
  'status',
  'ends',
  'asks',
  'answers',
  'usage',
  'command',
  'tool',
]
const needKinds = ['input', 'permission', 'credentials'] as const

/**
 * Checks the `catalog` of a config file: an object of event types, each with the traits that differ.
 *
 * @returns a copy without a prototype
 * @throws Error that names the place and says what was expected
 */
export function catalogFromConfig(value: unknown, limits: TypeLimits = defaultLimits): Extensions {
  const extensions: Record<string, Partial<Traits>> = Object.create(null)
  for (const [type, differing] of Object.entries(objectAt(value, 'catalog'))) {
    if (!isType(type.replace(/(?<=.)\*$/, ''), limits)) {
      throw new Error(
        `catalog: expected an event type (${expectedType(limits)}) or prefix*, got ${quote(type)}`,
      )
    }
    extensions[type] = traitsAt(differing, `catalog.${type}`)
  }
  return extensions
}

function traitsAt(value: unknown, at: string): Partial<Traits> {
  const given = objectAt(value, at)
  for (const name of Object.keys(given)) {
    if (!traitNames.includes(name)) {
      throw new Error(`${at}.${name}: expected one of the traits ${traitNames.join(', ')}`)
    }
  }
  const { level, critical, replay, key, rollup, merge, status, ends, asks, answers, usage, command, tool } =
    given
  return {
    ...(level !== undefined && { level: oneOf(level, levels, `${at}.level`) }),
    ...(critical !== undefined && { critical: oneOf(critical, [false, true], `${at}.critical`) }),
    ...(replay !== undefined && { replay: oneOf(replay, [false, 'all', 'latest'], `${at}.replay`) }),
    ...(key !== undefined && { key: fieldName(key, `${at}.key`) }),
    ...(rollup !== undefined && { rollup: oneOf(rollup, [false, true], `${at}.rollup`) }),
    ...(merge !== undefined && { merge: mergeAt(merge, `${at}.merge`) }),
    ...(status !== undefined && { status: oneOf(status, ['running', 'paused', 'ended'], `${at}.status`) }),
    ...(ends !== undefined && { ends: oneOf(ends, [...results, 'byExit', 'byStatus'], `${at}.ends`) }),
    ...(asks !== undefined && { asks: oneOf(asks, needKinds, `${at}.asks`) }),
    ...(answers !== undefined && { answers: oneOf(answers, [...needKinds, 'any'], `${at}.answers`) }),
    ...(usage !== undefined && { usage: oneOf(usage, [true], `${at}.usage`) }),
    ...(command !== undefined && { command: oneOf(command, ['request', 'receipt'], `${at}.command`) }),
    ...(tool !== undefined && { tool: oneOf(tool, ['call', 'result'], `${at}.tool`) }),
  }
}

function mergeAt(value: unknown, at: string): Merge {
  const given = objectAt(value, at)
  const unknownName = Object.keys(given).find((name) => name !== 'text' && name !== 'ignore')
  if (unknownName !== undefined) throw new Error(`${at}.${unknownName}: expected nothing but text and ignore`)
  const { text, ignore } = given
  return Object.freeze({
    text: Array.isArray(text) ? fieldNames(text, `${at}.text`) : fieldName(text, `${at}.text`),
    ...(ignore !== undefined && { ignore: fieldNames(ignore, `${at}.ignore`) }),
  })
}

const fieldNamesMax = 16

function fieldNames(value: unknown, at: string): readonly string[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > fieldNamesMax) {
    throw new Error(`${at}: expected a list of 1 to ${fieldNamesMax} fields of data, got ${quote(value)}`)
  }
  return Object.freeze(value.map((name, index) => fieldName(name, `${at}.${index}`)))
}

function objectAt(value: unknown, at: string): { readonly [name: string]: unknown } {
  if (!isObject(value)) {
    throw new Error(`${at}: expected an object, got ${quote(value)}`)
  }
  return value
}

function oneOf<const T extends string | boolean>(value: unknown, allowed: readonly T[], at: string): T {
  const found = allowed.find((one) => one === value)
  if (found === undefined) {
    const names = allowed.map((one) => JSON.stringify(one)).join(', ')
    throw new Error(`${at}: expected one of ${names}, got ${quote(value)}`)
  }
  return found
}

function fieldName(value: unknown, at: string): string {
  if (typeof value !== 'string' || value === '') {
    throw new Error(`${at}: expected the name of a field of data, got ${quote(value)}`)
  }
  return value
}
