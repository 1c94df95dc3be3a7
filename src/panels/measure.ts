interface Measure {
  read(): void
  write(): void
}

let due: Measure[] = []

/**
 * Reads and writes geometry once all that changes in this turn has been drawn: first all reads, then all writes, so
 * that the browser lays the page out once and not once for each panel.
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
