import { useState } from 'preact/hooks'
import type { Json } from './model.js'
import type { HubRequests } from './requests.js'
import { ValueText } from './value-text.js'

/** The session's metadata and outcome, and of a fork its origin. They are requested when the element is opened. */
export function Metadata({
  requests,
  session,
}: {
  readonly requests: HubRequests
  readonly session: string
}) {
  const [value, setValue] = useState<Json>()
  const ask = async () => {
    try {
      const path = `api/sessions/${encodeURIComponent(session)}`
      const { metadata = {}, outcome, forkedFrom } = await requests.get(path, {})
      const more = {
        ...(outcome !== undefined && { outcome }),
        ...(forkedFrom !== undefined && { forkedFrom }),
      }
      setValue(Object.keys(more).length === 0 ? metadata : { metadata, ...more })
    } catch (error) {
      setValue(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <details
      class="metadata"
      onToggle={(event) => {
        if (event.currentTarget.open) void ask()
      }}
    >
      <summary>Metadata and outcome</summary>
      {value !== undefined && <ValueText value={value} onMore={() => undefined} />}
    </details>
  )
}
