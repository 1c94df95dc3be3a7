import { Variants } from '../../src/codec/variants.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'

export const at = (offset: number) => offset as Offset

export const note = (offset: number, data: HubEvent['data'] = offset): HubEvent => ({
  offset: at(offset),
  type: 'note',
  time: 1,
  data,
})

export const variantsOf = (...events: readonly HubEvent[]) => events.map((event) => new Variants(event))

export const live = (after: number, last: number) => ({ after: at(after), last: at(last) })
