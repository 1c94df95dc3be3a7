import { StoreError } from '../store/store.js'

export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** Where the engine of a log is, as its URL says. */
export interface Address {
  /** `single`: one server; `sentinel`: whichever Sentinel names; `cluster`: the nodes that these know. */
  readonly kind: 'single' | 'sentinel' | 'cluster'
  /** At least one, unless there is a `path`. */
  readonly endpoints: readonly Endpoint[]
  /** Of a unix socket. */
  readonly path?: string
  /** What Sentinel calls the server. */
  readonly name?: string
  readonly username?: string
  readonly password?: string
  readonly tls: boolean
  readonly db: number
  /** The URL without the password, for messages. */
  readonly shown: string
}

const forms =
  'redis://host:6379, rediss://host:6379 (TLS), redis+unix:///path, redis-sentinel://h1:26379,h2:26379/NAME ' +
  'or redis-cluster://h1:6379,h2:6379'

/** @throws StoreError `refused` with the forms that are known; the message never has the password */
export function readAddress(url: string): Address {
  const [, scheme = '', credentials, place = '', rest = ''] =
    /^([a-z+-]+):\/\/(?:([^@/]*)@)?([^/?#]*)(?:\/([^?#]*))?$/.exec(url) ?? []
  const tls = scheme === 'rediss' || scheme.startsWith('rediss-')
  const kind = kindOf(scheme.replace('rediss', 'redis'))
  if (kind === undefined) throw refused(`expected ${forms}`)
  const [user = '', ...words] = (credentials ?? '').split(':').map(decoded)
  const password = words.join(':')
  const base = {
    tls,
    ...(user !== '' && { username: user }),
    ...(password !== '' && { password }),
    shown: `${scheme}://${place}${rest === '' ? '' : `/${rest}`}`,
  }
  if (kind === 'unix') {
    if (place !== '' || rest === '') throw refused('expected redis+unix:///path/of/the.sock')
    return { ...base, kind: 'single', endpoints: [], path: `/${decoded(rest)}`, db: 0 }
  }
  const endpoints = place.split(',').map((text) => endpointOf(text, kind === 'sentinel' ? 26_379 : 6_379))
  if (kind === 'sentinel') {
    const [name = '', db = ''] = rest.split('/')
    if (name === '')
      throw refused('expected redis-sentinel://h1:26379,h2:26379/NAME, with the name of the master')
    return { ...base, kind, endpoints, name: decoded(name), db: dbOf(db) }
  }
  if (kind === 'single' && endpoints.length > 1) {
    throw refused('several hosts: expected redis-sentinel://…/NAME or redis-cluster://…')
  }
  if (kind === 'cluster' && rest !== '') throw refused('a cluster has only database 0')
  return { ...base, kind, endpoints, db: dbOf(rest) }
}

function kindOf(scheme: string): 'single' | 'unix' | 'sentinel' | 'cluster' | undefined {
  switch (scheme) {
    case 'redis':
      return 'single'
    case 'redis+unix':
      return 'unix'
    case 'redis-sentinel':
      return 'sentinel'
    case 'redis-cluster':
      return 'cluster'
    default:
      return undefined
  }
}

function endpointOf(text: string, usual: number): Endpoint {
  const [, inBrackets, plain, port] = /^(?:\[([\da-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text) ?? []
  const host = inBrackets ?? plain
  if (host === undefined || Number(port ?? usual) > 65_535) throw refused(`expected host:port, got "${text}"`)
  return { host, port: Number(port ?? usual) }
}

function dbOf(text: string): number {
  if (!/^\d{0,4}$/.test(text))
    throw refused(`expected the number of a database after the host, got "${text}"`)
  return Number(text)
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refused('a part of it is not percent-encoded correctly')
  }
}

function refused(why: string): StoreError {
  return new StoreError('refused', `the URL of the log: ${why}`)
}
