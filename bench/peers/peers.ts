import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { benchTopic, channelsOf } from '../harness/event.js'
import type { Contender, Transport, Wish } from '../harness/side.js'
import type { DialectChoice } from '../swarm/dialect.js'
import { onlyChannel } from './channels.js'

/** A server of others that can take part. */
export interface Peer {
  readonly name: string
  readonly transports: readonly Transport[]
  /** A file of `peers/`. */
  readonly file: string
  /** Packages of `peers/package.json` whose versions are said; none for Debian's. */
  readonly packages: readonly string[]
  /** @returns why it cannot run here, and what to do; nothing if it can */
  readonly missing?: () => string | undefined
  /** @returns its version, where it is not a package */
  readonly version?: () => string
  /** Why it takes no part in a scenario. */
  readonly cannot: { readonly [scenario: string]: string }
  readonly dialect: (wish: Wish) => DialectChoice
}

const noRooms = 'has no rooms or topics'
const oneStream = 'has one stream for each response'
const noHistory = 'keeps no history'
const noState = 'sends no differences of state'

export const peers: readonly Peer[] = [
  {
    name: 'ws',
    transports: ['ws'],
    file: 'peers/ws',
    packages: ['ws'],
    cannot: { sessions: noRooms, filters: noRooms, join: noHistory, state: noState, tokens: noRooms },
    dialect: () => ({ kind: 'runcast-ws', topics: [benchTopic] }),
  },
  {
    name: 'socket.io',
    transports: ['ws'],
    file: 'peers/socket-io',
    packages: ['socket.io'],
    cannot: { join: noHistory, state: noState },
    dialect: (wish) => ({ kind: 'socket.io', channels: channelNames(wish) }),
  },
  {
    name: 'socket.io-redis',
    transports: ['ws'],
    file: 'peers/socket-io-redis',
    packages: ['socket.io', '@socket.io/redis-streams-adapter'],
    missing: missingRedis,
    cannot: { join: noHistory, state: noState },
    dialect: (wish) => ({ kind: 'socket.io', channels: channelNames(wish) }),
  },
  {
    name: 'better-sse',
    transports: ['sse'],
    file: 'peers/better-sse',
    packages: ['better-sse'],
    cannot: { sessions: noRooms, filters: noRooms, join: noHistory, state: noState, tokens: noRooms },
    dialect: () => ({ kind: 'event-stream', path: '/' }),
  },
  {
    name: 'hono',
    transports: ['sse'],
    file: 'peers/hono',
    packages: ['hono', '@hono/node-server'],
    cannot: { sessions: noRooms, filters: noRooms, join: noHistory, state: noState, tokens: noRooms },
    dialect: () => ({ kind: 'event-stream', path: '/events' }),
  },
  {
    name: 'durable-streams',
    transports: ['sse'],
    file: 'peers/durable-streams',
    packages: ['@durable-streams/server'],
    cannot: { sessions: oneStream, filters: oneStream, state: noState, tokens: oneStream },
    dialect: ({ replay }) => ({
      kind: 'durable-stream',
      path: `/bench?live=sse&offset=${replay ? '-1' : 'now'}`,
    }),
  },
  {
    name: 'nchan',
    transports: ['ws', 'sse'],
    file: 'peers/nchan',
    packages: [],
    missing: missingNchan,
    version: nchanVersion,
    cannot: { state: noState },
    dialect: nchanDialect,
  },
  {
    name: 'nchan-redis',
    transports: ['ws', 'sse'],
    file: 'peers/nchan-redis',
    packages: [],
    missing: () => missingNchan() ?? missingRedis(),
    version: nchanVersion,
    cannot: { state: noState },
    dialect: nchanDialect,
  },
  {
    name: 'mosquitto',
    transports: ['ws'],
    file: 'peers/mosquitto',
    packages: [],
    missing: () => (runs('mosquitto', '-h') ? undefined : 'install the Debian package mosquitto'),
    version: () => debianVersion('mosquitto'),
    cannot: { join: 'keeps one event of each topic', state: noState },
    dialect: (wish) => ({ kind: 'mqtt', channels: channelNames(wish) }),
  },
  {
    name: 'nats',
    transports: ['ws'],
    file: 'peers/nats',
    packages: [],
    missing: () => (runs('nats-server', '--version') ? undefined : 'install the Debian package nats-server'),
    version: () => debianVersion('nats-server'),
    cannot: { join: noHistory, state: noState },
    dialect: (wish) => ({ kind: 'nats', channels: channelNames(wish) }),
  },
]

function missingNchan(): string | undefined {
  return runs('nginx', '-v') && existsSync('/usr/lib/nginx/modules/ngx_nchan_module.so')
    ? undefined
    : 'install the Debian packages nginx and libnginx-mod-nchan'
}

function nchanVersion(): string {
  return `${debianVersion('libnginx-mod-nchan')} in nginx ${debianVersion('nginx')}`
}

function nchanDialect(wish: Wish): DialectChoice {
  const path = `/${wish.replay ? 'all' : 'sub'}/${channelNames(wish).join(',')}`
  return wish.transport === 'ws' ? { kind: 'plain-ws', path } : { kind: 'event-stream', path }
}

function missingRedis(): string | undefined {
  return runs('redis-server', '--version') ? undefined : 'install the Debian package redis-server'
}

/** @returns those of the peers that can take part over this transport. */
export function peerContenders(chosen: readonly Peer[], transport: Transport, scenario: string): Contender[] {
  return chosen
    .filter(({ transports, cannot }) => transports.includes(transport) && cannot[scenario] === undefined)
    .map(({ name, file, dialect }) => ({ name, file, dialect, isPeer: true }))
}

/** @returns a line for each reason for which a peer takes no part in a scenario. */
export function absences(chosen: readonly Peer[], scenario: string): string[] {
  const reasons = new Map<string, string[]>()
  for (const { name, cannot } of chosen) {
    const reason = cannot[scenario]
    if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), name])
  }
  return [...reasons].map(([reason, names]) => `not here: ${names.join(', ')}, which ${reason}.`)
}

/**
 * Installs what the peers need from npm, where that has not been done.
 *
 * @returns those that can run here, and a line for each that cannot
 */
export function readyPeers(
  chosen: readonly Peer[],
  say: (text: string) => void,
): { ready: Peer[]; absent: string[] } {
  if (chosen.some(({ file, packages }) => packages.length > 0 && file !== 'peers/ws') && !isInstalled()) {
    say('installing the peers')
    execFileSync('npm', ['ci', '--prefix', peersDir, '--no-audit', '--no-fund'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  const absent: string[] = []
  const ready = chosen.filter(({ name, missing }) => {
    const reason = missing?.()
    if (reason !== undefined) absent.push(`${name} does not take part: ${reason}.`)
    return reason === undefined
  })
  return { ready, absent }
}

/** @returns names with versions, such as `socket.io 4.8.4`. */
export function versionOf({ name, packages, version }: Peer): string {
  if (version !== undefined) return `${name} ${version()}`
  return packages.map((of) => `${of} ${packageVersion(of)}`).join(' with ')
}

const peersDir = fileURLToPath(new URL('.', import.meta.url))

function isInstalled(): boolean {
  const installed = `${peersDir}node_modules/.package-lock.json`
  return (
    existsSync(installed) && statSync(installed).mtimeMs >= statSync(`${peersDir}package-lock.json`).mtimeMs
  )
}

function packageVersion(name: string): string {
  const own = `${peersDir}node_modules/${name}/package.json`
  const file = existsSync(own)
    ? own
    : fileURLToPath(new URL(`../../node_modules/${name}/package.json`, import.meta.url))
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

function runs(program: string, argument: string): boolean {
  return spawnSync(program, [argument], { stdio: 'ignore' }).error === undefined
}

function debianVersion(name: string): string {
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f=${Version}', name], { encoding: 'utf8' })
  return stdout || 'unknown'
}

function channelNames({ spread, residue = 0 }: Wish): string[] {
  return spread === undefined ? [onlyChannel] : channelsOf(residue, spread).map((channel) => `c${channel}`)
}
