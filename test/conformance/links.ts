import type { Test } from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { closeCodes } from '../../src/protocol/codes.js'
import { until } from '../kit/wait.js'
import { kib } from './transport-kit.js'

/** The far end of a link to a hub that follows `sessions/s`. */
export interface FarEnd {
  /** What has come, in order: the numbers of the events, `gap`, and the code with which the link was closed. */
  readonly heard: readonly (number | 'gap' | { readonly code: number })[]
  /** Takes nothing any more. */
  stall(): void
  resume(): void
  /** Goes without a word. */
  cut(): void
}

/** Makes a hub and a link to it; resolves once the link is live. Both end with the test. */
export type OpenLink = (t: Test, options: HubOptions) => Promise<{ readonly hub: Hub; readonly far: FarEnd }>

/** How a number is published that `FarEnd.heard` has. */
export const note = 'note'

/** What a hub and a far end see of each other, whatever is between them. */
export function links(t: Test, open: OpenLink): void {
  async function joined(t: Test, options: HubOptions) {
    const { hub, far } = await open(t, options)
    let published = 0
    const session = hub.session('s')
    const publish = (count: number, bytes = 10) => {
      const text = 'x'.repeat(bytes)
      for (let n = 0; n < count; n++) session.publish({ type: note, data: { n: published++, text } })
    }
    const publishUntilItLags = () =>
      until('it lags', () => {
        if (hub.stats().lagging === 0) publish(50, 4 * kib)
        return hub.stats().lagging === 1
      })
    const upTo = () => [...Array(published).keys()]
    return { hub, far, publish, publishUntilItLags, upTo, published: () => published }
  }
  const roomy: HubOptions = { limits: { laneEventsMax: 100_000, historyBytesMax: 256 * kib * kib } }
  /** Of the kernel's too: what a hub hands over, it need not have any more. */
  const narrow = { laneEventsMax: 20, historyBytesMax: 256 * kib * kib }

  t.test('brings each event once and in order, of one turn and of many', async (t) => {
    const { far, publish, upTo } = await joined(t, roomy)
    for (let turn = 0; turn < 20; turn++) {
      publish(1 + turn * 10, turn % 3 === 0 ? kib : 10)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until('all have come', () => far.heard.length >= upTo().length)
    t.strictSame(far.heard, upTo())
  })

  t.test('lags when its far end takes nothing, and brings all that was missed once it does', async (t) => {
    const { hub, far, publish, publishUntilItLags, upTo } = await joined(t, roomy)
    for (let round = 0; round < 2; round++) {
      far.stall()
      await publishUntilItLags()
      publish(100)
      far.resume()
      await until('it is in step', () => hub.stats().lagging === 0)
      publish(1)
      await until('all have come', () => far.heard.at(-1) === upTo().at(-1))
    }
    t.strictSame(far.heard, upTo())
  })

  t.test('tells what it could not bring any more', async (t) => {
    const { hub, far, publish, publishUntilItLags, published } = await joined(t, { limits: narrow })
    far.stall()
    await publishUntilItLags()
    const before = published()
    publish(100)
    far.resume()
    await until('the newest has come', () => far.heard.at(-1) === published() - 1)
    const gap = far.heard.indexOf('gap')
    t.equal(far.heard.lastIndexOf('gap'), gap, 'one gap')
    t.strictSame(
      far.heard.slice(gap + 1),
      [...Array(20).keys()].map((n) => published() - 20 + n),
      'and then what is retained',
    )
    const came = far.heard.slice(0, gap) as readonly number[]
    t.strictSame(came, [...came.keys()], 'before it all from the first on')
    t.ok(came.length <= before)
    t.match(hub.stats(), { connections: 1, lagging: 0 })
  })

  t.test('is closed with a code, after what was written before', async (t) => {
    const { hub, far, publish, publishUntilItLags, published } = await joined(t, {
      limits: narrow,
      catalog: { [note]: { critical: true } },
    })
    far.stall()
    await publishUntilItLags()
    publish(100)
    far.resume()
    await until('it is told', () => typeof far.heard.at(-1) === 'object')
    const came = far.heard.slice(0, -1)
    t.strictSame(far.heard.at(-1), { code: closeCodes.lagging })
    t.strictSame(came, [...came.keys()])
    t.ok(came.length > 0 && came.length < published(), `${came.length} of ${published()}`)
    await until('nothing is left', () => hub.stats().connections === 0)
    t.match(hub.stats(), { connections: 0, subscriptions: 0, feeds: 0 })
  })

  t.test('leaves nothing when its far end goes, also while it takes nothing', async (t) => {
    for (const stalled of [false, true]) {
      const { hub, far, publish, publishUntilItLags } = await joined(t, roomy)
      if (stalled) {
        far.stall()
        await publishUntilItLags()
      }
      far.cut()
      await until('nothing is left', () => hub.stats().connections === 0)
      t.match(hub.stats(), { connections: 0, subscriptions: 0, feeds: 0 })
      const count = far.heard.length
      publish(10)
      await new Promise((resolve) => setImmediate(resolve))
      t.equal(far.heard.length, count)
    }
  })
}
