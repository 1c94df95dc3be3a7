import { useState } from 'preact/hooks'
import type { Json } from './model.js'
import type { HubRequests } from './requests.js'
import { ValueText } from './value-text.js'

/** The session's metadata and outcome. They are requested when the element is opened. */
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
      const { metadata, outcome } = await requests.get(`api/sessions/${encodeURIComponent(session)}`, {})
      setValue(outcome === undefined ? (metadata ?? {}) : { metadata: metadata ?? {}, outcome })
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
