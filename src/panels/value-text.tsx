import { useState } from 'preact/hooks'
import { countText } from './format.js'
import type { Json } from './model.js'

/** What is shown of a value until somebody asks for all of it. */
const linesMax = 30
const charactersMax = 4_000

/** A value as text: one that is a text as it is, any other as JSON; the beginning of one that is long. */
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
