import type { Hub } from '../../../src/hub/hub.js'
import type { Block } from '../../kit/served.js'

export function publish(hub: Hub, topic: string, ...types: string[]): void {
  hub.publish(
    topic,
    types.map((type) => ({ type, data: { of: topic } })),
  )
}

export const isLive = ({ event }: Block): boolean => event === 'hub.live'

export function dataOf({ data }: Block): Record<string, unknown> {
  return JSON.parse(data ?? '{}')
}

export async function problemOf(url: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const response = await fetch(url, init)
  return (await response.json()) as Record<string, unknown>
}
