import { useState } from 'preact/hooks'
import { countText } from './format.js'
import type { Json } from './model.js'

/** Maximum that is shown of a value until all of it is requested. */
const linesMax = 30
const charactersMax = 4_000

/** A value as text: a string unchanged, any other value as JSON. Of a long one only the beginning is shown at first. */
export function ValueText({ value, onMore }: { readonly value: Json; readonly onMore: () => void }) {
  const [isAll, showAll] = useState(false)
  const text = typeof value === 'string' ? value : JSON.stringify(value, undefined, 2)
  const lines = text.split('\n')
  const short = lines.slice(0, linesMax).join('\n').slice(0, charactersMax)
  const isCut = short.length < text.length
  return (
    <div class="details">
      <pre>{isAll ? text : short}</pre>
      {isCut && (
        <button
          type="button"
          onClick={() => {
            showAll(!isAll)
            onMore()
          }}
        >
          {isAll
            ? 'Show less'
            : `Show all ${lines.length > linesMax ? countText(lines.length, 'line') : countText(text.length, 'character')}`}
        </button>
      )}
    </div>
  )
}
