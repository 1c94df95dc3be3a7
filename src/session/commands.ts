import type { Catalog } from '../catalog/catalog.js'
import { cutText } from '../lib/cut-text.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { NewEvent } from '../protocol/frames.js'
import type { CommandRecord } from '../store/store.js'

/** The final state of a command. The hub publishes `expired`, the agent the others. */
export type FinalState = 'applied' | 'refused' | 'expired'

/** The number of commands that have reached each state, over all sessions of a hub. */
export type CommandCounts = Record<'sent' | 'delivered' | FinalState, number>

export function noCommandCounts(): CommandCounts {
  return { sent: 0, delivered: 0, applied: 0, refused: 0, expired: 0 }
}

/** The data of `command.done`. */
export interface Receipt {
  /** The offset of the command. */
  readonly offset: Offset
  readonly state: FinalState
  readonly reason?: string | undefined
}

/** Commands with a final state that the slice still shows. */
const doneShownMax = 20

const textLengthMax = 200

/** The commands to one topic: those without a final state, and the last ones with one. */
export class Commands {
  readonly #open = new Map<Offset, CommandRecord>()
  /** In the order of their final states. */
  #done: readonly CommandRecord[] = []

  /** Those without a final state, in the order in which they were sent. */
  get open(): Iterable<CommandRecord> {
    return this.#open.values()
  }

  get size(): number {
    return this.#open.size
  }

  isOpen(offset: Offset): boolean {
    return this.#open.has(offset)
  }

  /** When the first of them expires. Milliseconds since 1970; undefined if none is open. */
  get dueAt(): number | undefined {
    let due: number | undefined
    for (const { expiresAt } of this.#open.values()) {
      if (due === undefined || expiresAt < due) due = expiresAt
    }
    return due
  }

  /** A command was sent. */
  add(command: CommandRecord): void {
    this.#open.set(command.offset, command)
  }

  /**
   * An agent that asks for commands has joined, and gets those after `after`.
   *
   * @returns how many commands are newly delivered
   */
  deliver(after: Offset, asksFor: (type: string) => boolean): number {
    return this.deliverThese(this.waiting(after, asksFor))
  }

  /** @returns where those stand that nobody was given yet, of those that an agent asks for */
  waiting(after: Offset, asksFor: (type: string) => boolean): readonly Offset[] {
    return [...this.#open.values()]
      .filter(({ state, offset, type }) => state === 'queued' && offset > after && asksFor(type))
      .map(({ offset }) => offset)
  }

  /** @returns of how many it is news that an agent was given them */
  deliverThese(offsets: readonly Offset[]): number {
    let changed = 0
    for (const offset of offsets) {
      const command = this.#open.get(offset)
      if (command?.state !== 'queued') continue
      this.#open.set(offset, { ...command, state: 'delivered' })
      changed++
    }
    return changed
  }

  /** @returns the offset of the receipt; undefined if there is none, or it was long ago */
  doneAt(offset: Offset): Offset | undefined {
    return this.#done.find((command) => command.offset === offset)?.doneOffset
  }

  /**
   * A command has reached its final state.
   *
   * @param at the offset of the receipt
   * @returns the command; undefined if no open command has that offset
   */
  done({ offset, state, reason }: Receipt, at: Offset, now: number): CommandRecord | undefined {
    const command = this.#open.get(offset)
    if (command === undefined) return undefined
    this.#open.delete(offset)
    const ended: CommandRecord = {
      ...command,
      state,
      ...(reason !== undefined && { reason: cutText(reason, textLengthMax) }),
      doneAt: now,
      doneOffset: at,
    }
    this.#done = [...this.#done, ended].slice(-doneShownMax)
    return ended
  }

  /** @returns whether any text or reason is another one now */
  replaceTexts(change: (text: string) => string): boolean {
    let isChanged = false
    const changed = (command: CommandRecord): CommandRecord => {
      const { text = '', reason = '' } = command
      const [newText, newReason] = [change(text), change(reason)]
      if (newText === text && newReason === reason) return command
      isChanged = true
      return {
        ...command,
        ...(newText !== '' && { text: newText }),
        ...(newReason !== '' && { reason: newReason }),
      }
    }
    for (const [offset, command] of this.#open) this.#open.set(offset, changed(command))
    this.#done = this.#done.map(changed)
    return isChanged
  }

  /** The value of the slice `$commands`: each command by its offset. */
  slice(): JsonObject {
    // Names that are numbers are in their order in any object.
    return Object.fromEntries(
      [...this.#done, ...this.#open.values()].map(({ offset, doneOffset: _, ...command }) => [
        String(offset),
        command as JsonObject,
      ]),
    )
  }

  /** The record for the store. */
  record(): readonly CommandRecord[] {
    return [...this.#done, ...this.#open.values()]
  }

  restore(commands: readonly CommandRecord[]): void {
    for (const command of commands) {
      if (command.doneOffset === undefined) this.#open.set(command.offset, command)
      else this.#done = [...this.#done, command]
    }
  }
}

/** @returns the record of a command that is being sent */
export function sentCommand(
  event: { readonly type: string; readonly data?: JsonValue; readonly id?: string },
  { offset, now, ttlMs, delivered }: { offset: Offset; now: number; ttlMs: number; delivered: boolean },
): CommandRecord {
  const { type, data, id } = event
  const text = textIn(data)
  return {
    offset,
    type,
    state: delivered ? 'delivered' : 'queued',
    time: now,
    expiresAt: now + ttlOf(data, ttlMs),
    ...(id !== undefined && { id }),
    ...(text !== undefined && { text }),
  }
}

/** @param otherwise the default */
function ttlOf(data: JsonValue | undefined, otherwise: number): number {
  const { ttlMs } = fieldsOf(data)
  return typeof ttlMs === 'number' ? ttlMs : otherwise
}

function textIn(data: JsonValue | undefined): string | undefined {
  const { text, reason } = fieldsOf(data)
  const found = [text, reason].find((one) => typeof one === 'string' && one !== '')
  return typeof found === 'string' ? cutText(found, textLengthMax) : undefined
}

/** @returns the data of a checked `command.done` */
export function receiptIn(data: JsonValue | undefined): Receipt {
  const { offset, state, reason } = fieldsOf(data)
  return {
    offset: offset as Offset,
    state: state as FinalState,
    ...(typeof reason === 'string' && { reason }),
  }
}

/** @returns the offset of the first receipt for the same command; undefined if there is none, or the event is no receipt */
export function firstReceipt(
  { type, data }: NewEvent,
  { sentCommands }: { readonly sentCommands: Commands | undefined },
  catalog: Pick<Catalog, 'traitsOf'>,
): Offset | undefined {
  if (catalog.traitsOf(type).command !== 'receipt') return undefined
  return sentCommands?.doneAt(receiptIn(data).offset)
}
