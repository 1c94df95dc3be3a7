import { createHash } from 'node:crypto'
import type { Extensions } from '../catalog/catalog.js'
import { StoreError } from '../store/store.js'
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
 * @returns what may cost events, one sentence each
 * @throws StoreError `refused`, with one sentence that says what to do
 */
export async function checkNode(node: EngineNode): Promise<readonly string[]> {
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

/** @returns what two catalogs have in common only if they are the same */
function fingerprint(catalog: Extensions): string {
  const sorted = (of: object) => Object.entries(of).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const text = JSON.stringify(sorted(catalog).map(([type, traits]) => [type, sorted(traits as object)]))
  return createHash('sha256').update(text).digest('base64url').slice(0, 16)
}

/**
 * Looks whether the log was begun by hubs that understand the same.
 *
 * @param call runs a command where the key is
 * @param key of what the hubs of a log have agreed on
 * @param given types of events beyond the built-in ones
 */
export async function checkConfig(call: EngineNode['call'], key: string, given: Extensions): Promise<void> {
  const catalog = fingerprint(given)
  const read = async () => (await call('HMGET', key, 'format', 'catalog')) as (Buffer | null)[]
  let agreed = await read()
  // Written only by the first hub: an engine that is full refuses to write, and can still be followed.
  if (agreed.includes(null)) {
    await call('HSETNX', key, 'format', format)
    await call('HSETNX', key, 'catalog', catalog)
    agreed = await read()
  }
  const [written, theirs] = agreed.map(String)
  if (Number(written) > format) {
    throw refused(
      `a newer version of the hub has begun to write it (format ${written}, this one knows ${format}): update this hub`,
    )
  }
  if (theirs !== catalog) {
    throw refused(
      'its hubs have another catalog of event types: give all hubs the same config file; to change it, ' +
        `stop them all, run redis-cli hdel '${key}' catalog, and start them with the new one`,
    )
  }
}

function refused(why: string): StoreError {
  return new StoreError('refused', why)
}
