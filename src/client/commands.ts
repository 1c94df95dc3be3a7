import { fieldsOf, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'
import { type ReceivedCommand, receivedCommand } from '../protocol/received-command.js'
import { ClosedError, RequestError } from './errors.js'
import type { Ending } from './subscription.js'

/** The final state of a command. */
export interface Outcome {
  readonly state: 'applied' | 'refused' | 'expired'
  readonly reason?: string
}

/** A command that the hub has stored. */
export interface SentCommand {
  readonly offset: Offset
  /** @returns the final state, when the agent or the hub has published it; requires permission to read the topic */
  outcome(): Promise<Outcome>
}

/** A command of a watcher to this agent. */
export type Command = ReceivedCommand<Promise<void>>

/** The commands to a topic, each once. */
export interface Commands extends AsyncIterableIterator<Command> {
  close(): void
}

/** The part of a client that commands need. */
export interface Steering {
  publish(event: { type: string; data: JsonValue; id?: string }): Promise<unknown>
  subscribe(types: readonly string[], replay: true | 'all', listener: Listening): Following
}

interface Listening {
  onEvent?(event: HubEvent): void
  onGap?(gap: { readonly reason: string }): void
  onEnd?(ending: Ending): void
}

interface Following {
  close(): void
  [Symbol.asyncIterator](): AsyncIterator<HubEvent, undefined>
}

/** @returns the event type of a command's name */
export function commandType(name: string): string {
  return name.includes('.') ? name : `command.${name}`
}

/** Waits for the final state of a command. */
export function outcomeOf(client: Steering, offset: Offset): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const subscription = client.subscribe(['command.done'], 'all', {
      onEvent({ data }) {
        const { offset: of, state, reason } = fieldsOf(data)
        if (of !== offset) return
        subscription.close()
        resolve({ state: state as Outcome['state'], ...(typeof reason === 'string' && { reason }) })
      },
      onEnd: ({ code, reason }) => reject(new ClosedError(1000, `${code}: ${reason}`)),
    })
  })
}

/** The number of remembered offsets of commands, so that a fresh join delivers none twice. */
const seenMax = 10_000

/** Follows the commands to a topic, beginning with those without a final state. */
export function follow(client: Steering, types: readonly string[]): Commands {
  const seen = new Set<Offset>()
  const subscription = client.subscribe(types, true, {
    // After a change of epoch, remembered offsets are meaningless.
    onGap: ({ reason }) => {
      if (reason === 'epoch') seen.clear()
    },
  })
  const events = subscription[Symbol.asyncIterator]()
  const commands: Commands = {
    async next() {
      for (;;) {
        const { done, value } = await events.next()
        if (done === true) return { done, value: undefined }
        if (value.type === 'complete') return commands.return?.() ?? { done: true, value: undefined }
        if (value.type === 'command.done' || seen.has(value.offset)) continue
        seen.add(value.offset)
        if (seen.size > seenMax) seen.delete(seen.values().next().value as Offset)
        return { done: false, value: commandOf(client, value) }
      }
    },
    async return() {
      subscription.close()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => commands,
    close: () => subscription.close(),
  }
  return commands
}

function commandOf(client: Steering, event: HubEvent): Command {
  return receivedCommand(event, async (receipt) => {
    try {
      // The id makes a receipt that is sent again after a reconnect a duplicate.
      await client.publish({ ...receipt, id: `done-${receipt.data.offset}` })
    } catch (error) {
      // The session has ended, and the command with it.
      if (!(error instanceof RequestError && error.code === 'conflict')) throw error
    }
  })
}
