import { type Client, type ConnectOptions, connect, type JsonValue } from '../../src/client.js'

/** What one tab of the tests has seen, read by the test itself. */
export const seen: { readonly data: JsonValue[]; readonly gaps: number[]; state: JsonValue } = {
  data: [],
  gaps: [],
  state: null,
}

export let client: Client

/** Follows `sessions/s` over a connection that tabs share. */
export function follow(url: string, options: ConnectOptions): void {
  client = connect(url, { tabs: true, backoff: { firstMs: 10, mostMs: 100 }, ...options })
  client.subscribe(
    { topic: 'sessions/s', slices: ['*'], replay: 'all' },
    {
      onEvent: ({ data }) => seen.data.push(data),
      onGap: ({ offset }) => seen.gaps.push(offset),
      onState: (state) => {
        seen.state = state['n'] ?? null
      },
    },
  )
}
