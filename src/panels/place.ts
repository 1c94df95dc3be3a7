import { type PanelMode, panelModes } from './model.js'

/** What a link leads to. */
export interface Place {
  readonly session?: string
  /** Which workers are shown; all when there are none. */
  readonly workers: readonly string[]
  readonly types: string
  readonly mode: PanelMode
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
  return {
    ...(session !== undefined && { session: decoded(session) }),
    workers: (address.searchParams.get('w') ?? '').split(',').filter((worker) => worker !== ''),
    types: address.searchParams.get('types') ?? '',
    mode: mode !== null && panelModes.includes(mode) ? mode : 'full',
  }
}

/** @returns the address of a place under a base, without what is the default */
export function addressOf({ session, workers, types, mode }: Place, base: string): string {
  if (session === undefined) return base
  const query = new URLSearchParams()
  if (workers.length > 0) query.set('w', workers.join(','))
  if (types !== '') query.set('types', types)
  if (mode !== 'full') query.set('mode', mode)
  const text = query.toString().replaceAll('%2C', ',').replaceAll('%2A', '*')
  return `${base}s/${encodeURIComponent(session)}${text === '' ? '' : `?${text}`}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
