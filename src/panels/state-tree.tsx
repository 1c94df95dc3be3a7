import { useRef } from 'preact/hooks'
import type { Json } from './model.js'
import { pure } from './pure.js'

const childrenMax = 200

/** A value as a tree. What did not change is the same object as before, so only changed paths are drawn, and flash. */
export const StateTree = pure(function StateTree({
  name,
  value,
  depth,
}: {
  readonly name: string
  readonly value: Json
  readonly depth: number
}) {
  const before = useRef(value)
  const flashes = useRef(0)
  const isLeaf = typeof value !== 'object' || value === null
  if (before.current !== value) {
    before.current = value
    if (isLeaf) flashes.current += 1
  }
  // Two names of one animation: changing between them starts it again.
  const flash = flashes.current === 0 ? '' : flashes.current % 2 === 0 ? 'flash-even' : 'flash-odd'
  if (isLeaf) {
    return (
      <div class={`leaf ${flash}`}>
        <span class="name">{name}</span>{' '}
        <span class={`value ${value === null ? 'null' : typeof value}`}>{String(value)}</span>
      </div>
    )
  }
  const entries = Object.entries(value as { readonly [name: string]: Json })
  return (
    <details open={depth < 2}>
      <summary>
        <span class="name">{name}</span>{' '}
        <span class="size">{Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`}</span>
      </summary>
      <div class="branch">
        {entries.slice(0, childrenMax).map(([key, each]) => (
          <StateTree key={key} name={key} value={each} depth={depth + 1} />
        ))}
        {entries.length > childrenMax && <div class="leaf">… {entries.length - childrenMax} more</div>}
      </div>
    </details>
  )
})
