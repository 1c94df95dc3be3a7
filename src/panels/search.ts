import type { Row } from './log.js'

/** What a log is searched for. */
export type Seeker =
  | { readonly kind: 'none' }
  | { readonly kind: 'sought'; readonly matches: (row: Row) => boolean }
  | { readonly kind: 'faulty'; readonly why: string }

/** @param text a text, found in any case; or `/expression/`, as JavaScript has them */
export function seekerOf(text: string): Seeker {
  if (text === '') return { kind: 'none' }
  const [, source, flags = ''] = /^\/(.+)\/([imsu]*)$/.exec(text) ?? []
  if (source === undefined) {
    const words = text.toLowerCase()
    return { kind: 'sought', matches: (row) => textOfRow(row).toLowerCase().includes(words) }
  }
  try {
    const expression = new RegExp(source, flags)
    return { kind: 'sought', matches: (row) => expression.test(textOfRow(row)) }
  } catch (error) {
    return { kind: 'faulty', why: error instanceof Error ? error.message : String(error) }
  }
}

export function isError({ kind, outcome }: Row): boolean {
  return kind === 'error' || outcome === 'failed'
}

/**
 * @param by 1 for the next, -1 for the one before
 * @returns the row that follows `from` among those that match, around the end; nothing where none does
 */
export function following(
  matching: readonly Row[],
  rows: readonly Row[],
  from: Row | undefined,
  by: 1 | -1,
): Row | undefined {
  if (matching.length === 0) return undefined
  const at = from === undefined ? -1 : matching.indexOf(from)
  if (at !== -1) return matching.at((at + by) % matching.length)
  // It is no match any more, or none was chosen: the first one after its place, or the last one before.
  const place = from === undefined ? (by === 1 ? -1 : rows.length) : rows.indexOf(from)
  const after = matching.findIndex((row) => rows.indexOf(row) > place)
  if (by === 1) return matching.at(after === -1 ? 0 : after)
  return matching.at(after === -1 ? -1 : after - 1)
}

/** What is open of it, too: whoever searches means what was published. */
function textOfRow({ type, name, worker, text, details }: Row): string {
  const rest = details === undefined ? text : JSON.stringify(details)
  return [name ?? '', type, worker ?? '', text, rest === text ? '' : rest].join('\n')
}
