import { type PanelMode, panelModes } from './model.js'
import { type Standing, standings } from './standing.js'

/** The filter of a panel. */
export interface Filter {
  readonly types: string
  readonly mode: PanelMode
}

/** The target of a link. */
export interface Place {
  readonly session?: string
  /** The hub itself instead of a session. */
  readonly view?: 'hub'
  /** Which workers are shown: names, or `!name` for all but these; all when there are none. */
  readonly workers: readonly string[]
  readonly types: string
  readonly mode: PanelMode
  /** What single panels show instead, by worker; the session's own under the empty name. */
  readonly panels?: { readonly [worker: string]: Filter }
  /** The offset of the target event. */
  readonly event?: number
  /** The group that the list of sessions shows; absent: all. */
  readonly show?: Standing
  /** The search text of the list of sessions. */
  readonly q?: string
  /** How many sessions are listed at most, where somebody asked for more. */
  readonly listed?: number
}

export const home: Place = { workers: [], types: '', mode: 'full' }

/** @returns the path under which the hub is, ending in a slash: what precedes `s/{session}`, or the home page itself */
export function baseOf({ pathname }: URL): string {
  return pathname.replace(/s\/[^/]+$/, '')
}

/**
 * @returns the place that an address means: `…/s/{session}?w=a,b&types=tool_*&mode=summary#o=4711`, with `types:a=` and
 * `mode:a=` for one panel
 */
export function placeOf(address: URL): Place {
  const session = /\/s\/([^/]+)$/.exec(address.pathname)?.[1]
  const query = address.searchParams
  const show = query.get('show') as Standing | null
  const q = query.get('q')
  const listed = /^\d{1,6}$/.exec(query.get('n') ?? '')?.[0]
  const event = /^#(?:.*&)?o=(\d{1,15})(?:&|$)/.exec(address.hash)?.[1]
  const panels: { [worker: string]: Filter } = {}
  for (const name of query.keys()) {
    const worker = /^(?:types|mode):(.*)$/.exec(name)?.[1]
    if (worker === undefined || worker === '__proto__') continue
    panels[worker] = {
      types: query.get(`types:${worker}`) ?? query.get('types') ?? '',
      mode: modeOf(query.get(`mode:${worker}`) ?? query.get('mode')),
    }
  }
  return {
    ...(session !== undefined && { session: decoded(session) }),
    ...(session === undefined && query.get('view') === 'hub' && { view: 'hub' }),
    workers: (query.get('w') ?? '').split(',').filter((worker) => worker !== ''),
    types: query.get('types') ?? '',
    mode: modeOf(query.get('mode')),
    ...(Object.keys(panels).length > 0 && { panels }),
    ...(event !== undefined && { event: Number(event) }),
    ...(show !== null && standings.includes(show) && { show }),
    ...(q !== null && q !== '' && { q }),
    ...(listed !== undefined && { listed: Number(listed) }),
  }
}

function modeOf(text: string | null): PanelMode {
  return panelModes.find((mode) => mode === text) ?? 'full'
}

/** @returns the filter of a panel. @param worker empty for the session's own */
export function filterOf({ panels, types, mode }: Place, worker: string): Filter {
  return panels?.[worker] ?? { types, mode }
}

/** @returns the place with another filter of one panel */
export function withFilter(place: Place, worker: string, filter: Filter): Place {
  const { panels, ...rest } = place
  const { [worker]: _, ...others } = panels ?? {}
  const isOwn = filter.types !== place.types || filter.mode !== place.mode
  const next = isOwn ? { ...others, [worker]: filter } : others
  return { ...rest, ...(Object.keys(next).length > 0 && { panels: next }) }
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

/** @returns the address of a place under a base, without default values */
export function addressOf(place: Place, base: string): string {
  const { session, workers, types, mode, panels = {}, event, show, q, listed } = place
  const query = new URLSearchParams()
  if (show !== undefined) query.set('show', show)
  if (q !== undefined && q !== '') query.set('q', q)
  if (listed !== undefined) query.set('n', String(listed))
  if (session === undefined && place.view !== undefined) query.set('view', place.view)
  if (session === undefined) return query.size === 0 ? base : `${base}?${query}`
  if (workers.length > 0) query.set('w', workers.join(','))
  if (types !== '') query.set('types', types)
  if (mode !== 'full') query.set('mode', mode)
  for (const [worker, filter] of Object.entries(panels)) {
    if (filter.types !== types) query.set(`types:${worker}`, filter.types)
    if (filter.mode !== mode) query.set(`mode:${worker}`, filter.mode)
  }
  const text = query
    .toString()
    .replaceAll('%2C', ',')
    .replaceAll('%2A', '*')
    .replaceAll('%21', '!')
    .replaceAll('%3A', ':')
  const hash = event === undefined ? '' : `#o=${event}`
  return `${base}s/${encodeURIComponent(session)}${text === '' ? '' : `?${text}`}${hash}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
