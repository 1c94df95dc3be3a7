import type { Catalog } from '../../catalog/catalog.js'
import { noTotals } from '../../history/history.js'
import { Weight } from '../../lib/weight.js'
import { unpackEntries } from '../../log/entries.js'
import type { SharedLog } from '../../log/shared-log.js'
import { noCommandCounts } from '../../session/commands.js'
import { Session } from '../../session/session.js'
import type { SessionSetting } from '../../session/session-setting.js'
import { StateRoom } from '../../state/room.js'
import { noCounts } from '../../state/topic-state.js'
import { applyBatch, restoreImage } from './log-batch.js'

interface LoggedSource {
  readonly log: SharedLog
  readonly catalog: Catalog
  readonly setting: SessionSetting
}

/**
 * Reads a session of the log for one look. It is not followed, counts for nothing, and nobody sees to what it has promised.
 *
 * @returns the session; one that waits if it was never started
 * @throws StoreError when the log cannot be asked
 */
export async function readLogged({ log, catalog, setting }: LoggedSource, id: string): Promise<Session> {
  const { epoch, last, checkpoint, batches } = await log.open(id)
  const session = new Session(id, epoch, aside(setting))
  if (checkpoint !== undefined) restoreImage(session, checkpoint, [], catalog)
  for (const batch of batches) applyBatch(session, batch, unpackEntries(batch), { ...nobody, catalog })
  session.goTo(last)
  return session
}

const nothing = (): void => undefined

/** Applies batches for one look. */
export const nobody = {
  begin: (session: Session, now: number): void => session.start(now),
  leased: nothing,
  ended: nothing,
  redacted: nothing,
}

/** @returns the setting of sessions that nobody sees, and that count for nothing */
export function aside(setting: SessionSetting): SessionSetting {
  return {
    ...setting,
    state: { ...setting.state, counts: noCounts(), room: () => new StateRoom(new Weight()) },
    totals: noTotals(),
    commandCounts: noCommandCounts(),
    journal: undefined,
    notices: new Set(),
    delivered: nothing,
    watchersChanged: nothing,
    withheld: nothing,
    listChanged: nothing,
    listTouched: nothing,
    commandDue: nothing,
    streamDue: nothing,
    stallDue: nothing,
  }
}
