import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface Issuer {
  readonly url: string
  keys: object[]
  /** Requests so far. */
  asked: number
  /** It answers with 500. */
  down: boolean
  /** It answers once this is done. */
  held: Promise<void> | undefined
}

/** Serves whatever keys (RFC 7517) it is given, until the test ends. */
export async function issuer(t: Test): Promise<Issuer> {
  const server = createServer((_, response) => {
    state.asked += 1
    void Promise.resolve(state.held).then(() => {
      if (state.down) response.writeHead(500).end()
      else response.end(JSON.stringify({ keys: state.keys }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
  const state: Issuer = { url, keys: [], asked: 0, down: false, held: undefined }
  return state
}

export function jwk(key: KeyObject, more: object = {}): object {
  return { ...key.export({ format: 'jwk' }), ...more }
}
