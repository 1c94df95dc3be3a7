import { useEffect, useRef, useState } from 'preact/hooks'
import type { Standing } from './standing.js'

const storageName = 'runcast.notify'

/** Shows system notifications, if wanted, when a session fails or asks while the page is hidden. */
export function Notices({ counts }: { readonly counts: ReadonlyMap<Standing, number> }) {
  const [wanted, want] = useState(() => localStorage.getItem(storageName) === 'yes')
  const before = useRef(counts)
  const isAllowed = 'Notification' in window && Notification.permission === 'granted'

  useEffect(() => {
    const earlier = before.current
    before.current = counts
    // The first list is not news.
    if (!wanted || !isAllowed || earlier.size === 0 || document.visibilityState === 'visible') return
    for (const [standing, words] of notified) {
      const more = (counts.get(standing) ?? 0) - (earlier.get(standing) ?? 0)
      if (more > 0) new Notification('Runcast', { body: words(more), tag: standing })
    }
  }, [counts])

  if (!('Notification' in window)) return null
  const toggle = async () => {
    const yes = !wanted && (await Notification.requestPermission()) === 'granted'
    localStorage.setItem(storageName, yes ? 'yes' : 'no')
    want(yes)
  }
  return (
    <button
      type="button"
      class="notify"
      aria-pressed={wanted && isAllowed}
      title="Shows a notification when a session fails or asks while this page is hidden"
      onClick={() => void toggle()}
    >
      Notify me
    </button>
  )
}

const notified: readonly (readonly [Standing, (count: number) => string])[] = [
  ['asks', (count) => (count === 1 ? 'A session needs you' : `${count} sessions need you`)],
  ['failed', (count) => (count === 1 ? 'A session has failed' : `${count} sessions have failed`)],
]
