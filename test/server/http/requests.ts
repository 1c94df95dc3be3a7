import type { Test } from 'tap'

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

export async function ask(url: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, init)
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : { text } }
}

export function post(url: string, body: string | Uint8Array, type = 'application/json'): Promise<Reply> {
  return ask(url, { method: 'POST', body: Buffer.from(body), headers: { 'content-type': type } })
}

export const ndjson = 'application/x-ndjson'

export function isProblem(
  t: Test,
  reply: Reply,
  expected: { status: number; detail: string | RegExp },
): void {
  t.match(reply.headers.get('content-type'), 'application/problem+json')
  t.match(reply.body, { type: /^urn:runcast:/, title: String, ...expected })
  t.equal(reply.status, expected.status)
}
