import type { Standing } from './standing.js'

const colours: Partial<Record<Standing, string>> = {
  asks: '#b45309',
  failed: '#b42318',
  lost: '#b42318',
  stalled: '#b45309',
}

/** Draws the icon of the tab in the colour of the most urgent state. */
export function showIcon(standing: Standing | undefined): void {
  const link = document.querySelector<HTMLLinkElement>('link[rel=icon]')
  const fill = encodeURIComponent((standing && colours[standing]) ?? '#0f766e')
  if (link !== null)
    link.href = link.href.replace(/(<|%3C)rect(.*?)fill='%23[0-9a-f]{6}'/, `$1rect$2fill='${fill}'`)
}
