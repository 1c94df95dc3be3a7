import type { JsonObject } from '../lib/json.js'
import type { RequestCode } from '../protocol/codes.js'
import type { Failed } from '../protocol/frames.js'
import type { Request } from './requests.js'

/** @returns the equivalent HTTP request. @throws TypeError when it cannot be written as JSON */
export function requestOf(request: Request): [path: string, init: RequestInit] {
  const { topic } = request
  if (request.type === 'publish') {
    return [`api/${topic}/events`, withBody('POST', 'application/json', request.events)]
  }
  if (request.type === 'lease') {
    return [`api/${topic}/lease`, withBody('PUT', 'application/json', { ms: request.ms })]
  }
  const path = `api/${topic}/state/${encodeURIComponent(request.slice)}`
  const cause = request.cause && { 'x-cause': ascii(JSON.stringify(request.cause)) }
  switch (request.type) {
    case 'set':
      return [path, withBody('PUT', 'application/json', request.value, cause)]
    case 'patch':
      return [path, withBody('PATCH', 'application/json-patch+json', request.patch, cause)]
    case 'merge':
      return [path, withBody('PATCH', 'application/merge-patch+json', request.merge, cause)]
  }
}

export function withBody(
  method: string,
  type: string,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): RequestInit {
  return { method, headers: { ...headers, 'content-type': type }, body: JSON.stringify(value) }
}

/** Makes JSON safe for a header by escaping non-ASCII characters. */
export function ascii(json: string): string {
  return json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

export async function readJson(response: Response): Promise<JsonObject | undefined> {
  try {
    return (await response.json()) as JsonObject
  } catch {
    // The caller handles answers without a body.
    return undefined
  }
}

/** @returns the refusal in a problem document (RFC 9457) */
export function failure({ type, detail }: JsonObject, otherwise: string): Failed {
  const code = typeof type === 'string' && type.startsWith('urn:runcast:') ? type.slice(12) : 'internalError'
  return {
    type: 'error',
    code: code as RequestCode,
    message: typeof detail === 'string' ? detail : otherwise,
  }
}
