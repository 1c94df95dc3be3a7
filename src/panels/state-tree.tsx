import { useRef, useState } from 'preact/hooks'
import { type Fields, isBranch, type Json } from './model.js'
import { pure } from './pure.js'

/** The number of children drawn at first, and of each further step. */
const childrenStep = 200
/** Maximum of children of a slice that opens by itself, and of a value in it that does. */
const openChildrenMax = 100
const openGrandchildrenMax = 20

/**
 * A value as a tree. Only open branches are drawn. Unchanged parts are the same objects as before, so only changed paths
 * are drawn again, and flash.
 */
export const StateTree = pure(function StateTree({
  name,
  value,
  depth,
  note = '',
}: {
  readonly name: string
  readonly value: Json
  readonly depth: number
  /** The text beside the name. */
  readonly note?: string
}) {
  const before = useRef(value)
  const flashes = useRef(0)
  const [isOpen, open] = useState(() => opensItself(value, depth))
  const [shown, showMore] = useState(childrenStep)
  const isLeaf = !isBranch(value)
  if (before.current !== value) {
    before.current = value
    if (isLeaf) flashes.current += 1
  }
  // One animation has two names: changing the name restarts it.
  const flash = flashes.current === 0 ? '' : flashes.current % 2 === 0 ? 'flash-even' : 'flash-odd'
  if (isLeaf) return <Leaf name={name} value={value} flash={flash} />
  const names = Object.keys(value)
  return (
    <details open={isOpen} onToggle={(event) => open(event.currentTarget.open)}>
      <summary>
        <span class="name">{name}</span>{' '}
        <span class="size">{Array.isArray(value) ? `[${names.length}]` : `{${names.length}}`}</span>
        {note !== '' && <span class="note"> {note}</span>}
      </summary>
      {isOpen && (
        <div class="branch">
          {names.slice(0, shown).map((key) => (
            <StateTree key={key} name={key} value={(value as Fields)[key] ?? null} depth={depth + 1} />
          ))}
          {names.length > shown && (
            <div class="leaf">
              <button type="button" onClick={() => showMore(shown + childrenStep)}>
                Show {Math.min(childrenStep, names.length - shown)} of {names.length - shown} more
              </button>
            </div>
          )}
        </div>
      )}
    </details>
  )
})

export function Leaf({
  name,
  value,
  flash = '',
}: {
  readonly name: string
  readonly value: Json
  readonly flash?: string
}) {
  return (
    <div class={`leaf ${flash}`}>
      <span class="name">{name}</span>{' '}
      <span class={`value ${value === null ? 'null' : typeof value}`}>{textOfLeaf(value)}</span>
    </div>
  )
}

export function textOfLeaf(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function opensItself(value: Json, depth: number): boolean {
  if (!isBranch(value) || depth > 1) return false
  return Object.keys(value).length <= (depth === 0 ? openChildrenMax : openGrandchildrenMax)
}
