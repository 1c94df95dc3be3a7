import type { LocalOptions, LocalSubscription } from '../delivery/local.js'
import { fieldsOf, type JsonObject } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent, NewEvent } from '../protocol/frames.js'
import { formatTopic, type TopicName } from '../protocol/topic.js'
import type { PublishResult } from '../sessions/publishing.js'

/** A command of a watcher to an agent. */
export interface Command {
  /** `cancel`, `pause`, `resume`, `input`, or another name after `command.`; other types unchanged. */
  readonly name: string
  readonly type: string
  readonly offset: Offset
  readonly data: JsonObject
  /** Publishes that it was done. Only the first receipt of a command counts; it may have expired by now. */
  applied(): void
  /** Publishes that it was not done and will not be. */
  refused(reason: string): void
}

/** The part of the hub that following commands needs. */
export interface Followable {
  readonly isCommand: (type: string) => boolean
  subscribe(topic: string, options: LocalOptions): LocalSubscription
  publish(topic: TopicName, events: readonly NewEvent[]): PublishResult
}

/** Follows the commands to a topic, beginning with those without a final state. */
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
      // The session has ended, and the command with it.
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
