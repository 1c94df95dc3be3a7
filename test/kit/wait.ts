/**
 * Waits for a condition, looking every few milliseconds. The deadline suits a busy machine.
 *
 * @param what for the message: "the client is lagging"
 * @throws Error when it does not hold within the deadline
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  deadlineMs = 30_000,
): Promise<void> {
  // A machine's wall clock may be set ahead meanwhile.
  const end = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** Waits until a value has stopped changing. */
export async function settled(what: string, value: () => number): Promise<number> {
  let last = value()
  let same = 0
  await until(`${what} has settled`, () => {
    const now = value()
    same = now === last ? same + 1 : 0
    last = now
    return same > 50
  })
  return last
}

/** @returns a promise and what settles it */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
