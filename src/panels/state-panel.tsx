import { useState } from 'preact/hooks'
import { clientClock } from '../client/surroundings.js'
import { copyText } from './copy-download.js'
import { countText, durationText } from './format.js'
import type { Json } from './model.js'
import { pure } from './pure.js'
import { searchState } from './state-search.js'
import { Leaf, StateTree } from './state-tree.js'

/** What last changed a slice. */
export interface Changed {
  /** The type of the action; empty if the producer named none. */
  readonly by: string
  /** Milliseconds since 1970. */
  readonly at: number
}

/** The state of a session: its slices as trees, with search, copy, and the last change of each slice. */
export const StatePanel = pure(function StatePanel({
  slices,
  changes,
  now,
}: {
  readonly slices: readonly (readonly [string, Json])[]
  readonly changes: ReadonlyMap<string, Changed>
  readonly now: number
}) {
  const [text, search] = useState('')
  const [notice, setNotice] = useState('')
  const { found, more } = text === '' ? { found: [], more: false } : searchState(slices, text)
  const copy = async () => {
    const copied = await copyText(JSON.stringify(Object.fromEntries(slices), undefined, 2))
    setNotice(copied ? 'Copied' : 'The browser refused to copy')
    clientClock.after(2_000, () => setNotice(''))
  }
  return (
    <section class="panel state" aria-labelledby="state">
      <header>
        <h2 id="state">State</h2>
        <span class="figures">
          <span>{countText(slices.length, 'slice')}</span>
        </span>
      </header>
      <div class="tools">
        <input
          type="search"
          aria-label="Search the state"
          placeholder="Search names and values"
          value={text}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => search(event.currentTarget.value)}
        />
        <button type="button" onClick={() => void copy()}>
          Copy
        </button>
        <span class="said" role="status">
          {notice}
        </span>
      </div>
      {/* It scrolls, so the keyboard must reach it. */}
      <div class="tree" tabIndex={0} role="group" aria-label="State of the session">
        {text === ''
          ? slices.map(([name, value]) => (
              <StateTree
                key={name}
                name={name}
                value={value}
                depth={0}
                note={noteOf(changes.get(name), now)}
              />
            ))
          : found.map(({ path, value }) => <Leaf key={path} name={path} value={value} />)}
        {text !== '' && found.length === 0 && <p class="size">Not found</p>}
        {more && <p class="size">There are more: type more of the name</p>}
      </div>
    </section>
  )
})

function noteOf(changed: Changed | undefined, now: number): string {
  if (changed === undefined) return ''
  return `${changed.by === '' ? 'changed' : `by ${changed.by}`} ${durationText(now - changed.at, 'coarse')} ago`
}
