import { base } from './base.js'
import { fieldsOf, type Json } from './model.js'
import type { HubRequests } from './requests.js'

/** Makes requests with this token, if there is one. */
export function hubRequests(token: string | undefined): HubRequests {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const ask = async (address: URL, init: RequestInit): Promise<Response> => {
    const answer = await fetch(address, { ...init, headers })
    if (answer.ok) return answer
    const { detail } = fieldsOf((await answer.json().catch(() => null)) as Json)
    throw new Error(typeof detail === 'string' ? detail : `the hub answered ${answer.status}`)
  }
  return {
    async get(path, query, signal) {
      const address = new URL(path, new URL(base, location.href))
      for (const [name, value] of Object.entries(query)) {
        if (value !== undefined) address.searchParams.set(name, String(value))
      }
      const answer = await ask(address, signal === undefined ? {} : { signal })
      return fieldsOf((await answer.json()) as Json)
    },
    async delete(path) {
      await ask(new URL(path, new URL(base, location.href)), { method: 'DELETE' })
    },
  }
}
