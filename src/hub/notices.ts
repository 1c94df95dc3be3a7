import type { Clock } from '../lib/clock.js'
import type { Notice } from '../session/notice.js'
import type { Change } from '../sessions/redact/redact-memory.js'
import type { Sessions } from '../sessions/sessions.js'

/** How long the hubs of a log have to deliver a command before it counts as followed by nobody. Milliseconds. */
const deliveryMs = 2_000

/** Those who want to be told of what happens in sessions, and of redactions of it. */
export class Notices {
  /** Each is called in the step that publishes the event. */
  readonly listeners = new Set<(notice: Notice) => void>()
  readonly #redactions = new Set<(change: Change) => void>()

  /** @returns what ends it */
  add(listener: (notice: Notice) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** @returns what ends it */
  onRedaction(listener: (change: Change) => void): () => void {
    this.#redactions.add(listener)
    return () => void this.#redactions.delete(listener)
  }

  redacted(change: Change): void {
    for (const listener of this.#redactions) listener(change)
  }
}

/** @returns the listener of one of several hubs over a log, which tells what this hub has appended, and commands that wait */
export function ofLog(
  listener: (notice: Notice) => void,
  { clock, sessions }: { readonly clock: Clock; readonly sessions: Sessions },
): (notice: Notice) => void {
  return (notice) => {
    if (!sessions.reports) return
    if (notice.kind !== 'command') return listener(notice)
    const { session: id, worker, offset } = notice
    clock.after(deliveryMs, () => {
      const session = sessions.held(id)
      const { sentCommands } = (worker === undefined ? session : session?.workers.get(worker))?.progress ?? {}
      const sent = [...(sentCommands?.open ?? [])].find((one) => one.offset === offset)
      // A session that left memory has no followers here, so nobody knows better.
      if (session === undefined || sent?.state === 'queued') listener(notice)
    })
  }
}
