import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'
import { ClosedError, RequestError } from './errors.js'
import type { Ending } from './subscription.js'

/** What became of a command at last. */
export interface Outcome {
  readonly state: 'applied' | 'refused' | 'expired'
  readonly reason?: string
}

/** A command that the hub has. */
export interface SentCommand {
  readonly offset: Offset
  /** @returns once the agent, or the hub for it, has said; the client must be allowed to read the topic */
  outcome(): Promise<Outcome>
}

/** What somebody who watches asks of this agent. */
export interface Command {
  /** `cancel`, `pause`, `resume`, `input`, or what else stands after `command.`; other types as they are. */
  readonly name: string
  readonly type: string
  readonly offset: Offset
  readonly data: JsonObject
  /** It was done. Of several words on a command the first one counts: by now it may have expired. */
  applied(): Promise<void>
  /** It was not, and will not be. */
  refused(reason: string): Promise<void>
}

/** The commands that are sent to a topic, each once. */
export interface Commands extends AsyncIterableIterator<Command> {
  close(): void
}

/** What commands need of a client. */
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

/** @returns the type of a command that is called by its name */
export function commandType(name: string): string {
  return name.includes('.') ? name : `command.${name}`
}

/** Waits for what becomes of a command. */
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

/** Offsets of commands that are remembered, so that none is given twice by a join that begins anew. */
const seenMax = 10_000

/** Follows the commands that are sent to a topic, from those on that have no final state. */
export function follow(client: Steering, types: readonly string[]): Commands {
  const seen = new Set<Offset>()
  const subscription = client.subscribe(types, true, {
    // Offsets of another life are others.
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

function commandOf(client: Steering, { type, offset, data }: HubEvent): Command {
  // By its id, a receipt that is sent again after a cut is told once.
  const say = async (said: JsonObject): Promise<void> => {
    try {
      await client.publish({ type: 'command.done', id: `done-${offset}`, data: { offset, ...said } })
    } catch (error) {
      // Its session has ended, and it with it.
      if (!(error instanceof RequestError && error.code === 'conflict')) throw error
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
