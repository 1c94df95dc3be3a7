import type { Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { ProtocolError, type RequestCode } from '../../src/protocol/codes.js'
import type { LimitName, Limits } from '../../src/protocol/limits.js'
import { SimulatedClock } from '../kit/clock.js'
import { type Dialogue, dial, type Served, served } from '../kit/served.js'

export type LimitTest = (t: Test) => Promise<void>
export type LimitTests = Partial<Record<LimitName, LimitTest>>

export const topic = 'sessions/s'
export const ndjson = 'application/x-ndjson'

export function limited(t: Test, limits: Partial<Limits>): Promise<Served> {
  return served(t, { hub: { limits } })
}

/** A client of a hub whose clock stands still. */
export async function still(
  t: Test,
  limits: Partial<Limits>,
): Promise<{ client: Dialogue; clock: SimulatedClock; hub: Hub }> {
  const clock = new SimulatedClock()
  const { hub, url } = await served(t, { hub: { limits }, serve: { clock } })
  return { client: await dial(t, url), clock, hub }
}

export async function ping(client: Dialogue, times: number): Promise<void> {
  for (let sent = 0; sent < times; sent += 1) {
    client.send({ type: 'ping' })
    await client.expect('pong')
  }
}

export async function statusOf(
  { url }: Served,
  method: string,
  path: string,
  body?: string,
  type = 'application/json',
): Promise<number> {
  const abort = new AbortController()
  const response = await fetch(url + path, {
    method,
    signal: abort.signal,
    ...(body !== undefined && { body, headers: { 'content-type': type } }),
  })
  // A stream would go on.
  if (response.headers.get('content-type') === 'text/event-stream') abort.abort()
  else await response.arrayBuffer()
  return response.status
}

export function refused(t: Test, code: RequestCode, task: () => unknown): void {
  try {
    task()
    t.fail(`expected to be refused with ${code}`)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    t.equal(error.code, code, error.message)
  }
}

/** @returns what one of the events weighs that these tests publish */
export function weighEvent(): number {
  const hub = createHub()
  hub.publish(topic, [{ type: 'a', data: 1 }])
  return hub.stats().memoryBytes
}
