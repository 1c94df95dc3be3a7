import { marks, type Standing } from './standing.js'

/** How something stands, as a sign in its colour; the word stands beside it, or is its title. */
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
