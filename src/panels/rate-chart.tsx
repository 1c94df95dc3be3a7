import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import UPlot from 'uplot'
import { type Rate, rateSeconds } from './rate.js'

const height = 76

/** Events a second over the last two minutes. */
export function RateChart({ rate, now }: { readonly rate: Rate; readonly now: number }) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<UPlot | undefined>(undefined)
  useLayoutEffect(() => {
    const element = box.current
    if (element === null) return
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    const make = (): void => {
      plot.current?.destroy()
      const color = (name: string): string => getComputedStyle(element).getPropertyValue(name).trim()
      const axis = {
        stroke: color('--quiet'),
        grid: { stroke: color('--line'), width: 1 },
        ticks: { show: false },
        font: '11px system-ui, sans-serif',
      }
      plot.current = new UPlot(
        {
          width: Math.max(120, element.clientWidth),
          height,
          legend: { show: false },
          cursor: { show: false },
          padding: [8, 2, 8, 0],
          scales: {
            x: { time: false },
            y: { range: (_plot, _min, most) => [0, Math.max(4, most * 1.15)] },
          },
          axes: [
            { ...axis, show: false },
            {
              ...axis,
              size: 38,
              space: 26,
              values: (_plot, values) => values.map((value) => compact.format(value)),
            },
          ],
          series: [
            {},
            {
              stroke: color('--accent'),
              fill: color('--accent-wash'),
              width: 1.5,
              points: { show: false },
            },
          ],
        },
        [[], []],
        element,
      )
    }
    make()
    scheme.addEventListener('change', make)
    const observer = new ResizeObserver(() => {
      plot.current?.setSize({ width: Math.max(120, element.clientWidth), height })
    })
    observer.observe(element)
    return () => {
      observer.disconnect()
      scheme.removeEventListener('change', make)
      plot.current?.destroy()
    }
  }, [])
  useEffect(() => {
    const series = rate.series(now)
    plot.current?.setData([series.map((_, at) => at - rateSeconds + 1), series])
  }, [now])
  return <div ref={box} class="chart" role="img" aria-label="Events a second over the last two minutes" />
}

const compact = new Intl.NumberFormat('en', { notation: 'compact' })
