import { createHash } from 'node:crypto'
import type { Extensions } from '../catalog/catalog.js'
import type { MaskingOptions } from '../mask/masking.js'
import { MaskingKey } from '../mask/masking-key.js'
import { StoreError } from '../store/store.js'
import { type Argument, EngineError } from './connection.js'
import type { EngineNode } from './node.js'

/** How what this version keeps in Redis is made up. */
const format = 1
const versionMin = 7

/** What `INFO` says. */
function readInfo(text: string): ReadonlyMap<string, string> {
  const fields = text.split('\r\n').flatMap((line) => {
    const divide = line.indexOf(':')
    return divide < 0 ? [] : [[line.slice(0, divide), line.slice(divide + 1)] as const]
  })
  return new Map(fields)
}

/**
 * Looks whether a node can hold a log.
 *
 * @param key of the log; it may be on another node
 * @returns what may cost events, one sentence each
 * @throws StoreError `refused`, with one sentence that says what to do
 */
export async function checkNode(node: EngineNode, key: string): Promise<readonly string[]> {
  await checkRights(node, key)
  const info = readInfo(String(await node.call('INFO')))
  const say = (name: string) => info.get(name) ?? ''
  const version = say('valkey_version') || say('redis_version')
  if (Number.parseInt(version, 10) < versionMin) {
    throw refused(`it is Redis ${version}: a log needs Redis or Valkey ${versionMin} or newer`)
  }
  const policy = say('maxmemory_policy')
  if (say('maxmemory') !== '0' && policy !== 'noeviction') {
    throw refused(
      `its maxmemory-policy is ${policy}, by which Redis drops events that were acknowledged: set it to noeviction`,
    )
  }
  const warnings: string[] = []
  if (say('maxmemory') === '0') {
    warnings.push(
      'Redis has no maxmemory: the machine runs out of memory before Redis refuses to take more; set it',
    )
  }
  if (say('aof_enabled') !== '1') {
    warnings.push('Redis has no append-only file: all events are gone when it restarts; set appendonly yes')
  }
  const replicas = Number(say('connected_slaves') || '0')
  // Only told where it is set.
  if (replicas > 0 && !info.has('min_slaves_good_slaves')) {
    warnings.push(
      'Redis has replicas and no min-replicas-to-write: a server that was cut off goes on taking events that are lost later; set it to 1',
    )
  }
  return warnings
}

/**
 * Looks whether the user has the rights that the scripts need, by commands that change nothing.
 *
 * @throws EngineError `NOPERM`
 */
async function checkRights(node: EngineNode, key: string): Promise<void> {
  const commands: readonly (readonly [string, ...Argument[]])[] = [
    ['GET', key],
    ['PERSIST', key],
    ['EVAL', 'return 1', 0],
    ['SPUBLISH', key, ''],
    ['TIME'],
    ['MEMORY', 'USAGE', key],
  ]
  for (const command of commands) {
    try {
      await node.call(...command)
    } catch (error) {
      // Another refusal, such as a full memory or a key of another node, says that the right is there.
      if (!(error instanceof EngineError) || error.code === 'NOPERM') throw error
    }
  }
}

/** @returns what two catalogs have in common only if they are the same */
function fingerprint(catalog: Extensions): string {
  const sorted = (of: object) => Object.entries(of).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return hashOf(sorted(catalog).map(([type, traits]) => [type, sorted(traits as object)]))
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url').slice(0, 16)
}

/** What all hubs of a log have the same. */
export interface Agreed {
  /** Types of events beyond the built-in ones. */
  readonly catalog?: Extensions
  /** Not compared unless given. */
  readonly masking?: MaskingOptions
}

/** What hubs of a log have to agree on: the name of its field, how another one is told, and how it is changed. */
interface Agreement {
  readonly field: string
  readonly value: string
  readonly differ: string
  /** Hubs with the former one may go on while others are restarted. */
  readonly isChangedInTurn: boolean
}

function agreements(catalog: Extensions, masking: MaskingOptions | undefined): readonly Agreement[] {
  const types: Agreement = {
    field: 'catalog',
    value: fingerprint(catalog),
    differ: 'have another catalog of event types: give all hubs the same config file',
    isChangedInTurn: false,
  }
  if (masking === undefined) return [types]
  const { mode = 'shapes', patterns = [], key } = masking
  const expressions = patterns.map(({ kind, pattern }) => `${kind} ${pattern}`).toSorted()
  return [
    types,
    {
      field: 'masking',
      value: mode === 'off' ? mode : hashOf([mode, expressions]),
      differ: 'mask other secrets: give all hubs the same --masking and maskingPatterns',
      isChangedInTurn: true,
    },
    {
      field: 'maskingKey',
      value: mode === 'off' || key === undefined ? 'none' : new MaskingKey(key).id,
      differ: 'have another key for masking: give all hubs the same --masking-key-file',
      isChangedInTurn: false,
    },
  ]
}

/**
 * Looks whether the log was begun by hubs that understand the same.
 *
 * @param call runs a command where the key is
 * @param key of what the hubs of a log have agreed on
 */
export async function checkConfig(
  call: EngineNode['call'],
  key: string,
  { catalog = {}, masking }: Agreed,
): Promise<void> {
  const ours = agreements(catalog, masking)
  const fields = ours.map(({ field }) => field)
  const read = async () => (await call('HMGET', key, 'format', ...fields)) as (Buffer | null)[]
  let agreed = await read()
  // Written only by the first hub: an engine that is full refuses to write, and can still be followed.
  if (agreed.includes(null)) {
    await call('HSETNX', key, 'format', format)
    for (const { field, value } of ours) await call('HSETNX', key, field, value)
    agreed = await read()
  }
  const [written, ...theirs] = agreed.map(String)
  if (Number(written) > format) {
    throw refused(
      `a newer version of the hub has begun to write it (format ${written}, this one knows ${format}): update this hub`,
    )
  }
  for (const [index, { field, value, differ, isChangedInTurn }] of ours.entries()) {
    if (theirs[index] === value) continue
    const hdel = `run redis-cli hdel '${key}' ${field}, and`
    throw refused(
      `its hubs ${differ}; to change it, ` +
        (isChangedInTurn
          ? `${hdel} restart all hubs with the new one`
          : `stop them all, ${hdel} start them with the new one`),
    )
  }
}

function refused(why: string): StoreError {
  return new StoreError('refused', why)
}
