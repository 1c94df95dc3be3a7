import { clientClock } from '../client/surroundings.js'

type Task = () => void

/** Between two rounds: what is out of sight need not be up to the second. */
const restMs = 2_000

const due = new Set<Task>()
let isAsked = false

/** Runs the task some seconds later, when the page has nothing else to do; once, however often it is asked for. */
export function whenIdle(task: Task): void {
  due.add(task)
  if (isAsked) return
  isAsked = true
  clientClock.after(restMs, next)
}

/** There is nothing any more that the task was for. */
export function notWhenIdle(task: Task): void {
  due.delete(task)
}

/** One task at a time: the browser may have something to do after each. */
function next(): void {
  // Not every browser says when it is idle.
  if (typeof requestIdleCallback === 'function') requestIdleCallback(run)
  else clientClock.after(0, run)
}

function run(): void {
  const [task] = due
  if (task !== undefined) {
    due.delete(task)
    task()
  }
  if (due.size > 0) next()
  else isAsked = false
}
