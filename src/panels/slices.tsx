import { type ComponentChildren, toChildArray } from 'preact'
import { useEffect, useReducer, useRef } from 'preact/hooks'
import { notOnNextFrame, onNextFrame } from './frame-loop.js'

/** Draws its children a few a frame, so that many that begin together do not block the page. */
export function Slices({
  step,
  children,
}: {
  /** How many come with a frame. */
  readonly step: number
  readonly children: ComponentChildren
}) {
  const all = toChildArray(children)
  const count = useRef(0)
  count.current = Math.min(all.length, count.current + step)
  const [, draw] = useReducer((frames: number, _: undefined) => frames + 1, 0)
  const more = useRef(() => draw(undefined)).current
  useEffect(() => {
    if (count.current < all.length) onNextFrame(more)
  })
  useEffect(() => () => notOnNextFrame(more), [])
  return <>{all.slice(0, count.current)}</>
}
