import type { Test } from 'tap'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import type { Delivered, LogFeed, SharedLog } from '../../src/log/shared-log.js'
import type { Epoch } from '../../src/protocol/cursor.js'
import { readAddress } from '../../src/redis/address.js'
import { RedisLog, type RedisLogParts } from '../../src/redis/redis-log.js'

/** @returns a hub's way to the log, which is closed at the end */
export function linkTo(t: Test, url: string, more: Partial<RedisLogParts> = {}): RedisLog {
  const log = new RedisLog({
    clock: systemClock,
    random: systemRandom,
    address: readAddress(url),
    tls: undefined,
    acknowledge: 'engine',
    canaryMs: 100,
    faultMs: 10_000,
    waitMs: 5_000,
    idleMs: 30_000,
    ...more,
  })
  t.teardown(() => log.close())
  return log
}

let number = 0

/** Appends a batch whose entries are the names, or one without an id. */
export function append(log: SharedLog, epoch: Epoch, names: readonly string[] = [], session = 's') {
  const batch = { session, hub: 'h', number: ++number, epoch, at: 0, width: Math.max(1, names.length) }
  const ids = names.map((name, place) => ({ place, name }))
  return log.append({ ...batch, droppable: Buffer.from(names.join() || `${number}`), ids })
}

/** What a hub is told. */
export class Told implements LogFeed {
  readonly batches: Delivered[] = []
  breaks = 0

  batch(batch: Delivered): void {
    this.batches.push(batch)
  }

  broken(): void {
    this.breaks++
  }

  removed(): void {}
}
