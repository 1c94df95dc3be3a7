'use client'
import { RuncastProvider, useEvents, useSessionState, useSessions, useStatus } from '@runcast/client/react'

/** Where `app/live` mounts the hub. A route handler serves no WebSockets, so the client need not try one. */
const options = { transport: 'sse' }

export function Jobs() {
  return (
    <RuncastProvider url="/live" options={options}>
      <List />
    </RuncastProvider>
  )
}

function List() {
  const { kind } = useStatus()
  const { sessions } = useSessions()
  return (
    <>
      <button type="button" onClick={() => void fetch('/jobs', { method: 'POST' })}>
        Start a job
      </button>
      <p>{kind === 'open' ? 'connected' : 'connecting…'}</p>
      {sessions.map(({ id, status }) => (
        <Job key={id} id={id} status={status} />
      ))}
    </>
  )
}

function Job({ id, status }) {
  const progress = useSessionState(`sessions/${id}`, 'progress')
  const { events } = useEvents(`sessions/${id}/**`, { types: ['client_output_delta'] })
  return (
    <section>
      <h2>{id}</h2>
      <progress value={progress?.done ?? 0} max={progress?.of ?? 1} /> {status}
      <p>{events.map(({ data }) => data.content)}</p>
    </section>
  )
}
