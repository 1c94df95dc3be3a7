import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'

/** Kills what has the mark in its environment, in whatever group it is, once nobody holds the other end of the input. */
const script = `
trap '' HUP INT TERM
read -r _
for round in $(seq 100); do
  pids=$(grep -lzxF -e "$0" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3)
  [ -n "$pids" ] || exit 0
  kill -KILL $pids
  sleep 0.1
done`

/**
 * Has the processes that this one starts from now on, and those that they start, end with this one, however it ends.
 * Its end is seen by a pipe that closes; they are known by a variable of their environment. Needs `/proc`: elsewhere
 * nothing is done.
 *
 * @param variable to be set, by a name that nobody else sets
 */
export function endChildrenWithUs(variable: string): void {
  const value = randomUUID()
  const watching = spawn('sh', ['-c', script, `${variable}=${value}`], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watching.on('error', () => {})
  watching.unref()
  ;(watching.stdin as unknown as Socket).unref()
  // Afterwards, so that what watches does not kill itself.
  process.env[variable] = value
}
