type Task = () => void

const due = new Set<Task>()
let isRequested = false

/** Runs the task before the next frame is painted, once however often it is asked for: what comes meanwhile is one change. */
export function onNextFrame(task: Task): void {
  due.add(task)
  if (isRequested) return
  isRequested = true
  requestAnimationFrame(() => {
    isRequested = false
    const tasks = [...due]
    due.clear()
    for (const each of tasks) each()
  })
}

/** Cancels the task. */
export function notOnNextFrame(task: Task): void {
  due.delete(task)
}
