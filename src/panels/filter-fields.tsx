import { useState } from 'preact/hooks'
import { faultIn } from './filter.js'
import { type PanelMode, panelModes } from './model.js'

let lists = 0

/** A filter by type. It takes effect on blur or Enter. An invalid filter is reported and changes nothing. */
export function TypesField({
  label,
  value,
  known,
  onChoose,
}: {
  readonly label: string
  readonly value: string
  readonly known: ReadonlyMap<string, number>
  readonly onChoose: (text: string) => void
}) {
  const [list] = useState(() => {
    lists += 1
    return `types-${lists}`
  })
  const [typed, type] = useState<string | undefined>(undefined)
  const [isLeft, leave] = useState(false)
  const text = typed ?? value
  const fault = typed === undefined || isLeft ? faultIn(text) : undefined
  return (
    <span class="types-field">
      <input
        class="types"
        type="text"
        aria-label={label}
        aria-invalid={fault !== undefined}
        aria-describedby={fault === undefined ? undefined : `${list}-fault`}
        placeholder="All types"
        title="Names, prefix*, and ! before either to exclude; separated by commas"
        list={list}
        value={text}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="none"
        onInput={(event) => {
          leave(false)
          type(event.currentTarget.value)
        }}
        onChange={(event) => {
          const chosen = event.currentTarget.value
          leave(true)
          if (faultIn(chosen) !== undefined) return
          type(undefined)
          onChoose(chosen)
        }}
      />
      {fault !== undefined && (
        <span id={`${list}-fault`} class="fault" role="alert">
          “{fault}” is not a type, prefix* or !name: this filter is not in effect
        </span>
      )}
      <datalist id={list}>
        {[...known.keys()].toSorted().map((type) => (
          <option value={type} />
        ))}
      </datalist>
    </span>
  )
}

export function ModeField({
  label,
  value,
  onChoose,
}: {
  readonly label: string
  readonly value: PanelMode
  readonly onChoose: (mode: PanelMode) => void
}) {
  return (
    <select
      aria-label={label}
      title="full: everything; summary: without deltas; control: only events that control the run"
      value={value}
      onChange={(event) => onChoose(event.currentTarget.value as PanelMode)}
    >
      {panelModes.map((mode) => (
        <option value={mode}>{mode}</option>
      ))}
    </select>
  )
}
