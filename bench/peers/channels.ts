import type { Round } from '../harness/messages.js'
import { dataFor } from '../server/content.js'

/** What peers publish: each event by itself, as its JSON, to one channel. */
export interface ChannelEvent {
  readonly channel: string
  readonly data: object
}

/** Everyone's channel, where events are not spread. */
export const onlyChannel = 'bench'

/** @returns what makes the events of a round. */
export function channelEvents(round: Round): (number: number, stamp: number) => ChannelEvent {
  const { spread } = round
  const data = dataFor(round)
  return (number, stamp) => ({
    channel: spread === undefined ? onlyChannel : `c${number % spread.over}`,
    data: data(number, stamp),
  })
}
