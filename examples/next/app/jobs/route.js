import { setTimeout as pause } from 'node:timers/promises'
import { hub } from '../../hub.mjs'

/** Starts a job and answers with its session. The job goes on when the response has been sent. */
export function POST() {
  const session = hub.session(crypto.randomUUID())
  void run(session)
  return Response.json({ session: session.id }, { status: 202 })
}

const steps = ['fetch', 'index', 'check']

async function run(session) {
  const worker = session.worker('job')
  worker.publish({ type: 'execution_started' })
  for (const [done, step] of steps.entries()) {
    session.setState('progress', { step, done, of: steps.length })
    worker.publish({ type: 'client_output_delta', data: { content: `${step} … ` } })
    await pause(300)
  }
  session.setState('progress', { step: 'done', done: steps.length, of: steps.length })
  worker.publish({ type: 'execution_completed' })
  session.end()
}
