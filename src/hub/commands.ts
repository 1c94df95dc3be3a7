import type { LocalOptions, LocalSubscription } from '../delivery/local.js'
import type { Clock } from '../lib/clock.js'
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
  /** Whether a log gives the offsets: then what is followed has to be opened, and what is said submitted. */
  readonly isShared: boolean
  readonly clock: Clock
  open(topic: TopicName): Promise<void> | undefined
  subscribe(topic: string, options: LocalOptions): LocalSubscription
  publish(topic: TopicName, events: readonly NewEvent[]): PublishResult
  submit(topic: TopicName, events: readonly NewEvent[]): Promise<PublishResult>
}

/** After which a receipt is given to a log again that could not be reached. */
const retryMs = 1_000

/** Follows the commands to a topic, beginning with those without a final state. */
export function commandsOf(hub: Followable, topic: TopicName): AsyncIterableIterator<Command> {
  const follow = () => hub.subscribe(formatTopic(topic), { types: ['command.*'] })
  const opening = hub.open(topic)
  let subscription = opening === undefined ? follow() : undefined
  // Whoever asks for the first command is told.
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

function commandOf(hub: Followable, topic: TopicName, { type, offset, data }: HubEvent): Command {
  const say = (said: { readonly state: string; readonly reason?: string }): void => {
    const receipt: NewEvent = { type: 'command.done', data: { offset, ...said } }
    if (hub.isShared) return submit(hub, topic, receipt)
    try {
      hub.publish(topic, [receipt])
    } catch (error) {
      if (!isOverAnyway(error)) throw error
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

/** Its session has ended or is gone, and the command with it. */
function isOverAnyway(error: unknown): boolean {
  return error instanceof ProtocolError && (error.code === 'conflict' || error.code === 'notFound')
}

/** Gives a receipt to the log, as often as it takes: said twice it counts once. */
function submit(hub: Followable, topic: TopicName, receipt: NewEvent): void {
  hub.submit(topic, [receipt]).catch((error: unknown) => {
    if (isOverAnyway(error)) return
    if (!(error instanceof ProtocolError && error.code === 'unavailable')) throw error
    hub.clock.after(retryMs, () => submit(hub, topic, receipt))
  })
}
