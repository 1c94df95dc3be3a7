import { type PanelMode, panelModes } from './model.js'
import { type Standing, standings } from './standing.js'

/** What a link leads to. */
export interface Place {
  readonly session?: string
  /** Which workers are shown: names, or `!name` for all but these; all when there are none. */
  readonly workers: readonly string[]
  readonly types: string
  readonly mode: PanelMode
  /** What the list of sessions shows; all when absent. */
  readonly show?: Standing
  /** What the list of sessions is searched for. */
  readonly q?: string
}

export const home: Place = { workers: [], types: '', mode: 'full' }

/** @returns the path under which the hub is, ending in a slash: what precedes `s/{session}`, or the home page itself */
export function baseOf({ pathname }: URL): string {
  return pathname.replace(/s\/[^/]+$/, '')
}

/** @returns the place that an address means: `…/s/{session}?w=a,b&types=tool_*&mode=summary` */
export function placeOf(address: URL): Place {
  const session = /\/s\/([^/]+)$/.exec(address.pathname)?.[1]
  const mode = address.searchParams.get('mode') as PanelMode | null
  const show = address.searchParams.get('show') as Standing | null
  const q = address.searchParams.get('q')
  return {
    ...(session !== undefined && { session: decoded(session) }),
    workers: (address.searchParams.get('w') ?? '').split(',').filter((worker) => worker !== ''),
    types: address.searchParams.get('types') ?? '',
    mode: mode !== null && panelModes.includes(mode) ? mode : 'full',
    ...(show !== null && standings.includes(show) && { show }),
    ...(q !== null && q !== '' && { q }),
  }
}

/** @returns whether the panel of a worker is shown; one that begins later as well, unless only others are wanted */
export function showsWorker({ workers }: Pick<Place, 'workers'>, worker: string): boolean {
  if (workers.includes(`!${worker}`)) return false
  return workers.every((each) => each.startsWith('!')) || workers.includes(worker)
}

/** @returns the workers to show once this one is hidden, or shown again */
export function toggled({ workers }: Pick<Place, 'workers'>, worker: string): readonly string[] {
  if (showsWorker({ workers }, worker)) {
    return workers.includes(worker) && workers.length > 1
      ? workers.filter((each) => each !== worker)
      : [...workers.filter((each) => each !== worker), `!${worker}`]
  }
  const others = workers.filter((each) => each !== `!${worker}`)
  return others.length < workers.length ? others : [...others, worker]
}

/** @returns the address of a place under a base, without what is the default */
export function addressOf({ session, workers, types, mode, show, q }: Place, base: string): string {
  const query = new URLSearchParams()
  if (show !== undefined) query.set('show', show)
  if (q !== undefined && q !== '') query.set('q', q)
  if (session === undefined) return query.size === 0 ? base : `${base}?${query}`
  if (workers.length > 0) query.set('w', workers.join(','))
  if (types !== '') query.set('types', types)
  if (mode !== 'full') query.set('mode', mode)
  const text = query.toString().replaceAll('%2C', ',').replaceAll('%2A', '*').replaceAll('%21', '!')
  return `${base}s/${encodeURIComponent(session)}${text === '' ? '' : `?${text}`}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
