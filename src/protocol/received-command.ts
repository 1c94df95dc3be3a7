import { fieldsOf, type JsonObject } from '../lib/json.js'
import type { Offset } from './cursor.js'
import type { HubEvent } from './frames.js'

/** A command of a watcher to this agent. `Answer` is what the publishing of a receipt returns. */
export interface ReceivedCommand<Answer> {
  /** `cancel`, `pause`, `resume`, `input`, or another name after `command.`; other types unchanged. */
  readonly name: string
  readonly type: string
  readonly offset: Offset
  readonly data: JsonObject
  /** Publishes that it was done. Only the first receipt of a command counts; it may have expired by now. */
  applied(): Answer
  /** Publishes that it was not done and will not be. */
  refused(reason: string): Answer
}

/** The event that tells the final state of the command at `offset`. */
export interface Receipt {
  readonly type: 'command.done'
  readonly data: { readonly offset: Offset; readonly state: 'applied' | 'refused'; readonly reason?: string }
}

/** @returns the command of an event, whose receipt is published by `publish` */
export function receivedCommand<Answer>(
  { type, offset, data }: HubEvent,
  publish: (receipt: Receipt) => Answer,
): ReceivedCommand<Answer> {
  return {
    name: type.replace(/^command\./, ''),
    type,
    offset,
    data: fieldsOf(data),
    applied: () => publish({ type: 'command.done', data: { offset, state: 'applied' } }),
    refused: (reason) => publish({ type: 'command.done', data: { offset, state: 'refused', reason } }),
  }
}
