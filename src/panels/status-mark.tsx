import { marks, type Standing } from './standing.js'

/** A standing as a coloured sign. Its name is shown beside the sign if `word` is set, else it is the title. */
export function StatusMark({
  standing,
  word = false,
}: {
  readonly standing: Standing
  readonly word?: boolean
}) {
  return (
    <span class={`mark-of ${standing}`} title={standing}>
      <span aria-hidden="true">{marks[standing]}</span>
      {word ? <span>{standing}</span> : <span class="unseen">{standing}</span>}
    </span>
  )
}
