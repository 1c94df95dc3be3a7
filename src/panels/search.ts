import type { Row } from './rows.js'

/** A query for a log. */
export type Seeker =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'sought'
      readonly matches: (row: Row) => boolean
      /** As the hub searches its history for it. */
      readonly q: string
    }
  | { readonly kind: 'faulty'; readonly why: string }

/** @param text a text, found in any case; or `/expression/`, as JavaScript has them */
export function seekerOf(text: string): Seeker {
  if (text === '') return { kind: 'none' }
  const [, source, flags = ''] = /^\/(.+)\/([imsu]*)$/.exec(text) ?? []
  if (source === undefined) {
    const words = text.toLowerCase()
    return { kind: 'sought', matches: (row) => textOfRow(row).toLowerCase().includes(words), q: text }
  }
  try {
    const expression = new RegExp(source, flags)
    const inline = flags.replaceAll(/[iu]/g, '')
    return {
      kind: 'sought',
      matches: (row) => expression.test(textOfRow(row)),
      q: `/${inline === '' ? '' : `(?${inline})`}${source}/${flags.includes('i') ? 'i' : ''}`,
    }
  } catch (error) {
    return { kind: 'faulty', why: error instanceof Error ? error.message : String(error) }
  }
}

export function isError({ kind, outcome }: Row): boolean {
  return kind === 'error' || outcome === 'failed'
}

/** By row, as it was at its revision: most rows do not change while they are searched. */
const texts = new WeakMap<Row, { readonly revision: number; readonly text: string }>()

/** The text of a row, including the parts that are folded: a search covers everything that was published. */
function textOfRow(row: Row): string {
  const { kind, type, name, worker, text, details, result, revision } = row
  // What the page says itself was not published.
  if (kind === 'date' || kind === 'notice') return ''
  const known = texts.get(row)
  if (known?.revision === revision) return known.text
  const rest = [details, result].filter((part) => part !== undefined && part !== text)
  const parts = [name ?? '', type, worker ?? '', text, ...rest.map((part) => JSON.stringify(part))]
  texts.set(row, { revision, text: parts.join('\n') })
  return parts.join('\n')
}
