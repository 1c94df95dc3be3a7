import { useEffect, useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import type { Status } from '../client/reconnect.js'

export interface Seen {
  readonly status: Status
  /** The number of times that the connection has opened. */
  readonly opened: number
}

const countOf = ({ kind }: Status): number => (kind === 'open' ? 1 : 0)

/** @returns how the client's connection is doing, as it changes */
export function useStatus(client: Client): Seen {
  const [seen, see] = useState<Seen>({ status: client.status, opened: 0 })
  useEffect(() => {
    // Effects run after the page is painted: the connection may have opened, or been refused, since it was drawn.
    see({ status: client.status, opened: countOf(client.status) })
    return client.onStatus((status) => see(({ opened }) => ({ status, opened: opened + countOf(status) })))
  }, [client])
  return seen
}
