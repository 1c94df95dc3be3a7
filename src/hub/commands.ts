import type { LocalOptions, LocalSubscription } from '../delivery/local.js'
import { fieldsOf, type JsonObject } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent, NewEvent } from '../protocol/frames.js'
import { formatTopic, type TopicName } from '../protocol/topic.js'
import type { PublishResult } from '../sessions/publishing.js'

/** What somebody who watches asks of an agent. */
export interface Command {
  /** `cancel`, `pause`, `resume`, `input`, or what else stands after `command.`; other types as they are. */
  readonly name: string
  readonly type: string
  readonly offset: Offset
  readonly data: JsonObject
  /** It was done. Of several words on a command the first one counts: by now it may have expired. */
  applied(): void
  /** It was not, and will not be. */
  refused(reason: string): void
}

/** What following commands needs of the hub. */
export interface Followable {
  readonly isCommand: (type: string) => boolean
  subscribe(topic: string, options: LocalOptions): LocalSubscription
  publish(topic: TopicName, events: readonly NewEvent[]): PublishResult
}

/** Follows the commands that are sent to a topic, from those on that have no final state. */
export function commandsOf(hub: Followable, topic: TopicName): AsyncIterableIterator<Command> {
  const subscription = hub.subscribe(formatTopic(topic), { types: ['command.*'] })
  const commands: AsyncIterableIterator<Command> = {
    async next() {
      for (;;) {
        const { done, value } = await subscription.next()
        if (done) return { done, value: undefined }
        if (!hub.isCommand(value.type)) continue
        return { done: false, value: commandOf(hub, topic, value) }
      }
    },
    async return() {
      subscription.close()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => commands,
  }
  return commands
}

function commandOf(hub: Followable, topic: TopicName, { type, offset, data }: HubEvent): Command {
  const say = (said: { readonly state: string; readonly reason?: string }): void => {
    try {
      hub.publish(topic, [{ type: 'command.done', data: { offset, ...said } }])
    } catch (error) {
      // Its session has ended, and it with it.
      if (!(error instanceof ProtocolError && error.code === 'conflict')) throw error
    }
  }
  return {
    name: type.startsWith('command.') ? type.slice('command.'.length) : type,
    type,
    offset,
    data: fieldsOf(data),
    applied: () => say({ state: 'applied' }),
    refused: (reason) => say({ state: 'refused', reason }),
  }
}
