import { useState } from 'preact/hooks'
import type { Client } from '../client/client.js'

/** Makes a session with the past of this one. */
export function ForkButton({
  client,
  session,
  onFork,
}: {
  readonly client: Client
  readonly session: string
  /** Called with the new session's id. */
  readonly onFork: (fork: string) => void
}) {
  const [isForking, setForking] = useState(false)
  const [failure, setFailure] = useState('')
  const fork = async () => {
    setForking(true)
    setFailure('')
    try {
      onFork((await client.fork(`sessions/${session}`)).id)
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error))
    }
    setForking(false)
  }
  return (
    <>
      <button
        type="button"
        class="forks"
        disabled={isForking}
        title="A new session that begins with everything in this one; this one stays as it is"
        onClick={() => void fork()}
      >
        Fork
      </button>
      {failure !== '' && (
        <span class="why" role="alert">
          {failure}
        </span>
      )}
    </>
  )
}
