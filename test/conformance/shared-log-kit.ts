import type {
  Append,
  Appended,
  Delivered,
  LogFeed,
  Opened,
  SharedLog,
  Since,
} from '../../src/log/shared-log.js'
import type { Epoch, Offset } from '../../src/protocol/cursor.js'

export const at = Date.UTC(2025, 5, 1)
export const bytes = (text: string) => new TextEncoder().encode(text)
export const offset = (value: number) => value as Offset

/** A log that is being tested. */
export interface LogUnderTest {
  /** @returns a further hub's way to it */
  link(): SharedLog
  /** Remembers what the log holds. `failOver` brings it back: what was appended since is lost. Absent where nothing can. */
  readonly failover?: { mark(): void | Promise<void>; failOver(): void | Promise<void> }
}

/** What a hub is told. */
export class Told implements LogFeed {
  readonly batches: Delivered[] = []
  readonly removals: Epoch[] = []
  breaks = 0

  batch(batch: Delivered): void {
    this.batches.push(batch)
  }

  broken(): void {
    this.breaks++
  }

  removed(epoch: Epoch): void {
    this.removals.push(epoch)
  }

  /** Offsets of what came, without repeats. */
  get spans(): string[] {
    return [...new Set(this.batches.map(({ from, to }) => `${from}-${to}`))]
  }
}

let number = 0

export async function append(
  log: SharedLog,
  epoch: Epoch,
  width: number,
  more: Partial<Append> = {},
): Promise<Appended> {
  return log.append({
    session: 's',
    hub: 'h',
    number: ++number,
    epoch,
    at,
    width,
    droppable: bytes(`${number}`),
    ...more,
  })
}

/** What was appended, or a failure of the test. */
export function appended(answer: Appended): Extract<Appended, { kind: 'appended' }> {
  if (answer.kind === 'appended') return answer
  throw new Error(`expected a batch to be appended, got ${JSON.stringify(answer)}`)
}

export function batchesOf(since: Since): readonly Delivered[] {
  if (since.kind === 'batches') return since.batches
  throw new Error(`expected batches, got ${JSON.stringify(since)}`)
}

export const named = (...names: string[]) => names.map((name, place) => ({ place, name }))
export const spans = (batches: readonly Delivered[]) => batches.map(({ from, to }) => `${from}-${to}`)

/** @returns a hub's way to the log, with the session `s` opened */
export async function opened(log: LogUnderTest): Promise<{ link: SharedLog; epoch: Epoch; open: Opened }> {
  const link = log.link()
  const open = await link.open('s')
  return { link, epoch: open.epoch, open }
}
