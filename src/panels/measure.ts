interface Measure {
  read(): void
  write(): void
}

let due: Measure[] = []

/**
 * Reads and writes geometry after all changes of this turn have been drawn: first all reads, then all writes, so that
 * the browser computes the layout once instead of once per panel.
 */
export function measure(task: Measure): void {
  due.push(task)
  if (due.length > 1) return
  queueMicrotask(() => {
    const tasks = due
    due = []
    for (const each of tasks) each.read()
    for (const each of tasks) each.write()
  })
}
