import type { Hub } from '../hub/hub.js'
import type { Call } from './http/routes.js'

/**
 * Brings what a request is about to where a log has it now, so that it shows what was acknowledged at any hub. A hub
 * without a log has it already. What the client may do has to be looked at afterwards, by `Call.use`.
 */
export async function opened(hub: Hub, { use }: Pick<Call, 'use'>): Promise<void> {
  await use(({ topic }) => hub.catchUp(topic))
}
