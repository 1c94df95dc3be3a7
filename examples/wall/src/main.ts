import { type BuiltInCatalog, connect, type JsonObject } from '@runcast/client'
import { SessionTiles } from './session.ts'

/** As many sessions as a screen has room for. */
const sessionsMax = 24
const status = document.querySelector<HTMLElement>('#status')!
const wall = document.querySelector<HTMLElement>('#wall')!
const shown = new Map<string, SessionTiles>()

const client = connect<BuiltInCatalog>('/')
client.onStatus(({ kind }) => {
  status.textContent = kind === 'open' ? 'live' : 'connecting…'
})

/** Whether a session of the hub's list belongs on the wall: it runs, or it has failed. */
function isShown(about: JsonObject): boolean {
  return about['status'] !== 'ended' || about['result'] === 'failed' || about['result'] === 'lost'
}

// The hub lists its sessions in a slice; those that are over leave the wall.
client.subscribe(
  { topic: 'hub', types: ['!*'], slices: ['sessions'] },
  {
    onEvent() {},
    onState({ sessions }) {
      const listed = Object.entries((sessions ?? {}) as Record<string, JsonObject>)
      const wanted = listed
        .filter(([, about]) => isShown(about))
        .map(([id]) => id)
        .slice(0, sessionsMax)
      for (const [id, tiles] of shown) {
        if (wanted.includes(id)) continue
        tiles.close()
        shown.delete(id)
      }
      for (const id of wanted) if (!shown.has(id)) shown.set(id, new SessionTiles(client, id, wall))
    },
    onEnd: ({ reason }) => {
      status.textContent = reason
    },
  },
)
