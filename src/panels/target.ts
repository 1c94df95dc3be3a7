import { useEffect, useRef, useState } from 'preact/hooks'
import { fieldsOf } from './model.js'
import type { Goal } from './panel.js'
import type { Place } from './place.js'
import type { HubRequests } from './requests.js'

export interface Target {
  /** The worker whose panel has the event; empty for the session's own panel. */
  readonly worker: string
  readonly goal: Goal
}

/**
 * Finds the panel of the event that the address names.
 *
 * @returns its place; a message if it cannot be found; and a function that marks an event as already shown
 */
export function useTarget(
  requests: HubRequests,
  { session, event }: Place & { readonly session: string },
): [target: Target | undefined, missing: string, mark: (event: number) => void] {
  const [target, setTarget] = useState<Target>()
  const [missing, setMissing] = useState('')
  const marked = useRef<number | undefined>(undefined)
  useEffect(() => {
    if (event === undefined || marked.current === event) return
    const stop = new AbortController()
    const path = `api/sessions/${session}/history`
    const find = async () => {
      const { epoch } = await requests.get(path, { limit: 1 }, stop.signal)
      const after = `${typeof epoch === 'string' ? epoch : ''}:${event - 1}`
      const { events } = await requests.get(path, { all: 1, after, limit: 1 }, stop.signal)
      const found = fieldsOf(Array.isArray(events) ? events[0] : undefined)
      if (found['offset'] !== event) return setMissing(`Event ${event} is not retained any more.`)
      const { worker } = found
      setTarget({ worker: typeof worker === 'string' ? worker : '', goal: { offset: event } })
    }
    setMissing('')
    find().catch((error: unknown) => {
      if (!stop.signal.aborted)
        setMissing(`Event ${event}: ${error instanceof Error ? error.message : String(error)}`)
    })
    return () => stop.abort()
  }, [session, event])
  return [
    target,
    missing,
    (offset) => {
      marked.current = offset
      setMissing('')
    },
  ]
}
