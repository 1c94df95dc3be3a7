import { readdirSync, readFileSync } from 'node:fs'

/** What a process has taken since it began. */
export interface Spent {
  readonly cpuMicros: number
  /** The part of it outside the kernel; for another process in steps of 10 ms. */
  readonly userMicros: number
  readonly rssBytes: number
}

const tickMicros = 10_000
const pageBytes = 4_096

/** @param pid another process (Linux), whose threads do not end before it; this one unless given */
export function spentBy(pid?: number): Spent {
  if (pid === undefined) {
    const { user, system } = process.cpuUsage()
    return { cpuMicros: user + system, userMicros: user, rssBytes: process.memoryUsage.rss() }
  }
  // `schedstat` counts nanoseconds on a core, of one thread; `stat` counts ticks (proc(5)).
  let nanos = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanos += Number.parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8'), 10)
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    cpuMicros: nanos / 1e3,
    userMicros: Number(fields[11]) * tickMicros,
    rssBytes: Number(fields[21]) * pageBytes,
  }
}
