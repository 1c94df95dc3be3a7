import type { Dial, Dialling, Link, LinkEvents } from './link.js'
import type { ClientClock } from './surroundings.js'
import type { Tabs } from './tabs.js'

/** Opens a link of SSE and POST. */
export function dialSse(fetch: typeof globalThis.fetch, clock: ClientClock): Dial {
  return loaded(async (dialling, events) => {
    const { SseLink } = await import('./dial-sse.js')
    return () => new SseLink({ fetch, clock }, dialling, events)
  })
}

/** Opens a link by `dial` that tabs with the same name share. */
export function dialShared(dial: Dial, tabs: Tabs): Dial {
  return loaded(async (dialling, events) => {
    const { dialTabs } = await import('./tabs.js')
    return () => dialTabs(dial, tabs, dialling, events)
  })
}

/** A link whose code is loaded when it is dialled, because most clients never need it. */
function loaded(load: (dialling: Dialling, events: LinkEvents) => Promise<() => Link>): Dial {
  return (dialling, events) => {
    let open = true
    let link: Link | undefined
    load(dialling, events).then(
      (make) => {
        if (open) link = make()
      },
      (error: unknown) => {
        if (open) events.closed(1006, String(error))
      },
    )
    return {
      // Read only after it is open, when it has been loaded.
      get transport() {
        return (link as Link).transport
      },
      send: (frames) => link?.send(frames),
      close(code, reason) {
        open = false
        link?.close(code, reason)
      },
    }
  }
}
