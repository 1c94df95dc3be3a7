import { useLayoutEffect, useRef } from 'preact/hooks'
import { type Finder, foundMax, indexOf, type Match } from './finder.js'
import type { Seeker } from './search.js'

/** The search of one panel: its text, the number of matches, and buttons to go from match to match. */
export function FindBar({
  name,
  text,
  seeker,
  finder,
  matching,
  current,
  onText,
  onStep,
  onClose,
}: {
  readonly name: string
  readonly text: string
  readonly seeker: Seeker
  readonly finder: Finder | undefined
  readonly matching: readonly Match[]
  readonly current: Match | undefined
  readonly onText: (text: string) => void
  readonly onStep: (by: 1 | -1) => void
  readonly onClose: () => void
}) {
  const input = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => input.current?.focus(), [])
  return (
    <div class="find" role="search" aria-label={`Search in ${name}`}>
      <input
        ref={input}
        type="search"
        aria-label={`Search in ${name}`}
        placeholder="Text or /expression/"
        value={text}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => onText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter') onStep(event.shiftKey ? -1 : 1)
          else if (event.key === 'Escape') onClose()
          else return
          event.preventDefault()
        }}
      />
      <span class="found" role="status">
        {seeker.kind === 'faulty' && seeker.why}
        {seeker.kind === 'sought' && countOf(matching, current, finder)}
      </span>
      <button type="button" title="Shift + Enter" onClick={() => onStep(-1)}>
        Previous
      </button>
      <button type="button" title="Enter" onClick={() => onStep(1)}>
        Next
      </button>
      <button type="button" title="Escape" onClick={onClose}>
        Close
      </button>
    </div>
  )
}

/** @returns the number of matches, which one is marked, and how far the hub's history has been searched */
function countOf(matching: readonly Match[], current: Match | undefined, finder: Finder | undefined): string {
  const at = indexOf(matching, current)
  const count = matching.length.toLocaleString('en')
  const place = at === -1 ? '' : `${at + 1} of `
  const searched = finder?.searched ?? { kind: 'looking' }
  switch (searched.kind) {
    case 'looking':
      return `${place}${count}… searching the history`
    case 'more':
      return `${place}${count} or more: only the newest ${foundMax.toLocaleString('en')} of the history are listed`
    case 'failed':
      return `${place}${count} loaded; the search of the history failed: ${searched.why}`
    case 'done':
      return matching.length === 0 ? 'Not found' : `${place}${count}`
  }
}
