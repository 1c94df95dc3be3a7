import type { LocalOptions, LocalSubscription } from '../delivery/local.js'
import type { Clock } from '../lib/clock.js'
import { ProtocolError } from '../protocol/codes.js'
import type { HubEvent, NewEvent } from '../protocol/frames.js'
import { type ReceivedCommand, receivedCommand } from '../protocol/received-command.js'
import { formatTopic, type TopicName } from '../protocol/topic.js'
import type { PublishResult } from '../sessions/publishing.js'

/** A command of a watcher to an agent. */
export type Command = ReceivedCommand<void>

/** The part of the hub that following commands needs. */
export interface Followable {
  readonly isCommand: (type: string) => boolean
  /** Whether a log gives the offsets: then topics are opened before they are followed, and events are submitted. */
  readonly isShared: boolean
  readonly clock: Clock
  open(topic: TopicName): Promise<void> | undefined
  subscribe(topic: string, options: LocalOptions): LocalSubscription
  publish(topic: TopicName, events: readonly NewEvent[]): PublishResult
  submit(topic: TopicName, events: readonly NewEvent[]): Promise<PublishResult>
}

/** The delay before a receipt is submitted again to a log that could not be reached. Milliseconds. */
const retryMs = 1_000

/** Follows the commands to a topic, beginning with those without a final state. */
export function commandsOf(hub: Followable, topic: TopicName): AsyncIterableIterator<Command> {
  const follow = () => hub.subscribe(formatTopic(topic), { types: ['command.*'] })
  const opening = hub.open(topic)
  let subscription = opening === undefined ? follow() : undefined
  // The first `next` awaits it again, and rejects then.
  opening?.catch(() => {})
  let isOver = false
  const commands: AsyncIterableIterator<Command> = {
    async next() {
      if (subscription === undefined) {
        await opening
        if (isOver) return { done: true, value: undefined }
        subscription = follow()
      }
      for (;;) {
        const { done, value } = await subscription.next()
        if (done) return { done, value: undefined }
        if (!hub.isCommand(value.type)) continue
        return { done: false, value: commandOf(hub, topic, value) }
      }
    },
    async return() {
      isOver = true
      subscription?.close()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => commands,
  }
  return commands
}

function commandOf(hub: Followable, topic: TopicName, event: HubEvent): Command {
  return receivedCommand(event, (receipt) => {
    if (hub.isShared) return submit(hub, topic, receipt)
    try {
      hub.publish(topic, [receipt])
    } catch (error) {
      if (!isOverAnyway(error)) throw error
    }
  })
}

/** Its session has ended or is gone, and the command with it. */
function isOverAnyway(error: unknown): boolean {
  return error instanceof ProtocolError && (error.code === 'conflict' || error.code === 'notFound')
}

/** Submits a receipt to the log, repeatedly if necessary: a second receipt of a command counts for nothing. */
function submit(hub: Followable, topic: TopicName, receipt: NewEvent): void {
  hub.submit(topic, [receipt]).catch((error: unknown) => {
    if (isOverAnyway(error)) return
    if (!(error instanceof ProtocolError && error.code === 'unavailable')) throw error
    hub.clock.after(retryMs, () => submit(hub, topic, receipt))
  })
}
