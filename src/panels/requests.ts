import type { Fields } from './model.js'

/** The parameters of a request; those without a value are left out. */
export type Query = { readonly [name: string]: string | number | undefined }

/** The page's requests to its hub, other than subscriptions. */
export interface HubRequests {
  /**
   * @param path below the hub's address, as `api/sessions`
   * @returns the fields of the answer
   * @throws Error with the hub's message if it refuses
   */
  get(path: string, query: Query, signal?: AbortSignal): Promise<Fields>
  delete(path: string): Promise<void>
}
