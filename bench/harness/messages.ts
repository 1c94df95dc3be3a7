import type { ConnectOptions, Expectation, Report } from '../swarm/swarm.js'
import type { Spread } from './event.js'

/** A burst of publishing, paced so that no backlog builds up. */
export interface Round {
  /** Turns of the event loop in which something is published. */
  readonly turns: number
  /** Events published in each. */
  readonly events: number
  /** Size of each event's `data` as JSON. Bytes. */
  readonly bytes: number
  /** Turns that follow each other at once; then the server rests until the next tick. 0: flat out. */
  readonly turnsPerTick: number
  readonly tickMs: number
  /** Turns that may be published before the swarm has received them. */
  readonly aheadMax: number
  /** The events' type; `bench`, which has the default traits, unless given. */
  readonly type?: string
  /** Over what the events are spread; one topic and one type unless given. */
  readonly spread?: Spread
  /** What an event holds beside its mark: filling up to `bytes` unless given. */
  readonly content?: Content
  /** Whether each event has an id, as those of clients have. */
  readonly ids?: boolean
  /**
   * Stamp events with the time at which they were due, not that at which they were published: a server that
   * falls behind its rate then shows it.
   */
  readonly stampDue?: boolean
}

/**
 * `tokens`: texts of a model's stream. `answer`: the texts of one, without a mark. `patch`, `whole`: a change of
 * a state of `bytes` bytes, sent as a patch or as the whole value.
 */
export type Content = 'tokens' | 'answer' | 'patch' | 'whole'

/** What the server under test is asked for, and answers. */
export interface ServerCalls {
  run: { ask: Round; answer: { readonly first: number; readonly last: number } }
  /** Begins a round in which others publish. */
  begin: { ask: null; answer: null }
  /** Since the last `run` or `begin`. */
  usage: { ask: null; answer: Usage }
  /** So many turns of the current round have been received by everyone. */
  received: { ask: { readonly turns: number }; answer: null }
}

export interface Usage {
  readonly cpuMicros: number
  readonly userMicros: number
  readonly rssBytes: number
  readonly wallMicros: number
  /** CPU of the engine behind the server, where there is one. */
  readonly engineMicros?: number
}

/** What the swarm is asked for, and answers. */
export interface SwarmCalls {
  connect: { ask: ConnectOptions; answer: null }
  expect: { ask: Expectation; answer: null }
  settled: { ask: null; answer: Report }
  /** Stops or continues reading on all connections. */
  pause: { ask: null; answer: null }
  resume: { ask: null; answer: null }
  /** Closes all connections. */
  close: { ask: null; answer: null }
  produce: { ask: Production; answer: { readonly accepted: number } }
}

/** Events that the swarm publishes. */
export interface Production {
  readonly port: number
  /** `stream`: messages of a durable stream, at `path`. */
  readonly as: 'json' | 'ndjson' | 'msgpack' | 'ws' | 'stream'
  readonly path?: string
  readonly producers: number
  /** Requests, or frames, of each producer; each waits for the answer to the one before. */
  readonly requests: number
  /** Events in each. */
  readonly events: number
  readonly bytes: number
}

export type Calls = { readonly [name: string]: { ask: object | null; answer: object | null } }

/** From the bench to a process of it. */
export interface Ask {
  readonly id: number
  readonly call: string
  readonly with: object | null
}

/**
 * From a process of the bench: the answer to a call, or word that comes unasked. `ports` are those of several servers that are
 * one contestant: clients are spread over them.
 */
export type Word =
  | { readonly kind: 'ready'; readonly port: number; readonly ports?: readonly number[] }
  | { readonly kind: 'answer'; readonly id: number; readonly with: object | null }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  | { readonly kind: 'progress'; readonly deliveries: number }
