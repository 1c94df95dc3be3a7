import { type ComponentChildren, toChildArray, type VNode } from 'preact'
import { useEffect, useReducer, useRef } from 'preact/hooks'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'

/** Draws its children, which have keys, a few per frame, so that many new ones do not block the page. */
export function Slices({
  step,
  children,
}: {
  /** The number of children that each frame adds. */
  readonly step: number
  readonly children: ComponentChildren
}) {
  const all = toChildArray(children) as readonly VNode[]
  const drawn = useRef<ReadonlySet<unknown>>(new Set())
  let room = step
  // Drawn children stay, even if others are inserted before them.
  const shown = all.filter(({ key }) => {
    if (drawn.current.has(key)) return true
    room -= 1
    return room >= 0
  })
  drawn.current = new Set(shown.map(({ key }) => key))
  const [, draw] = useReducer((frames: number, _: undefined) => frames + 1, 0)
  const more = useRef(() => draw(undefined)).current
  useEffect(() => {
    if (shown.length < all.length) onNextFrame(more)
  })
  useEffect(() => () => notOnNextFrame(more), [])
  return <>{shown}</>
}
