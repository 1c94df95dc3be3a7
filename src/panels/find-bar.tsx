import { useLayoutEffect, useRef } from 'preact/hooks'
import type { Row } from './log.js'
import type { Seeker } from './search.js'

/** The search of one panel: what is sought, how often it is there, and the way from one to the next. */
export function FindBar({
  name,
  text,
  seeker,
  matching,
  current,
  onText,
  onStep,
  onClose,
}: {
  readonly name: string
  readonly text: string
  readonly seeker: Seeker
  readonly matching: readonly Row[]
  readonly current: Row | undefined
  readonly onText: (text: string) => void
  readonly onStep: (by: 1 | -1) => void
  readonly onClose: () => void
}) {
  const input = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => input.current?.focus(), [])
  const at = current === undefined ? -1 : matching.indexOf(current)
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
        {seeker.kind === 'sought' &&
          (matching.length === 0
            ? 'Not found'
            : `${at === -1 ? '' : `${at + 1} of `}${matching.length.toLocaleString('en')}`)}
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
