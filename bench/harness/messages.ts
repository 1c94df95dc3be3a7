import type { ConnectOptions, Expectation, Report } from '../swarm/swarm.js'

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
}

/** What the server under test is asked for, and answers. */
export interface ServerCalls {
  run: { ask: Round; answer: { readonly first: number; readonly last: number } }
  /** Since the last `run` began. */
  usage: { ask: null; answer: Usage }
  /** So many turns of the current round have been received by everyone. */
  received: { ask: { readonly turns: number }; answer: null }
}

export interface Usage {
  readonly cpuMicros: number
  readonly userMicros: number
  readonly rssBytes: number
  readonly wallMicros: number
}

/** What the swarm is asked for, and answers. */
export interface SwarmCalls {
  connect: { ask: ConnectOptions; answer: null }
  expect: { ask: Expectation; answer: null }
  settled: { ask: null; answer: Report }
  pause: { ask: { readonly count: number }; answer: null }
  resume: { ask: { readonly count: number }; answer: null }
}

export type Calls = { readonly [name: string]: { ask: object | null; answer: object | null } }

/** From the bench to a process of it. */
export interface Ask {
  readonly id: number
  readonly call: string
  readonly with: object | null
}

/** From a process of the bench: the answer to a call, or word that comes unasked. */
export type Word =
  | { readonly kind: 'ready'; readonly port: number }
  | { readonly kind: 'answer'; readonly id: number; readonly with: object | null }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  | { readonly kind: 'progress'; readonly deliveries: number }
