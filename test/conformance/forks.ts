import type { Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { formatCursor } from '../../src/protocol/cursor.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'
import type { SessionSummary } from '../../src/session/summary.js'

/** What keeps the sessions of a hub. */
export interface Keeping {
  /** @returns the options of a hub that keeps sessions in this way */
  readonly options: (t: Test) => HubOptions | Promise<HubOptions>
  /** Former values of slices are known, so that a session can be forked before they changed. */
  readonly knowsFormerState: boolean
}

type Step =
  | { readonly worker?: string; readonly event: NewEvent }
  | { readonly slice: string; readonly worker?: string; readonly value: string }

const story: readonly Step[] = [
  { event: { type: 'execution_started' } },
  { worker: 'lint', event: { type: 'execution_started', data: { parent: 'main' } } },
  { slice: 'plan', value: 'first lint' },
  { worker: 'lint', event: { type: 'note', data: 1, attempt: { step: 'a', number: 1 } } },
  { worker: 'test', event: { type: 'execution_started' } },
  { slice: 'place', worker: 'test', value: 'here' },
  { worker: 'test', event: { type: 'client_input_requested', data: { request_id: 'r', prompt: 'Go on?' } } },
  { worker: 'lint', event: { type: 'note', data: 2, attempt: { step: 'a', number: 2 } } },
  { worker: 'lint', event: { type: 'execution_completed' } },
  { event: { type: 'trigger_activated', data: { trigger_id: 't' } } },
  { worker: 'test', event: { type: 'client_input_received', data: { request_id: 'r' } } },
  { event: { type: 'llm_turn_complete', data: { input_tokens: 7 } } },
  { worker: 'test', event: { type: 'execution_failed', data: { error: 'broken' } } },
  { worker: 'test', event: { type: 'execution_started' } },
  { event: { type: 'execution_paused' } },
]

/** Does the first steps of the story to a session. @returns the session's offset after each */
async function tell(hub: Hub, id: string, steps = story.length): Promise<number[]> {
  const offsets: number[] = []
  for (const step of story.slice(0, steps)) {
    const topic = step.worker === undefined ? `sessions/${id}` : `sessions/${id}/workers/${step.worker}`
    if ('event' in step) offsets.push((await hub.submit(topic, [step.event])).last)
    else offsets.push((await hub.submitState(topic, step.slice, { value: step.value })).offset)
  }
  return offsets
}

async function eventsOf(hub: Hub, id: string): Promise<readonly HubEvent[]> {
  return (await hub.readHistory(`sessions/${id}/**`, { limit: 1_000 })).events
}

/** What does not depend on when, and on the session's name. */
function facts({ status, workers, needs, result, usage }: SessionSummary) {
  const of = workers.map(
    ({ id, status: one, events, result: its, reason, needs: asked, parent, usage: used }) => ({
      id,
      status: one,
      events,
      result: its,
      reason,
      needs: asked?.map(({ key, kind, text }) => ({ key, kind, text })),
      parent,
      usage: used,
    }),
  )
  return { status, needs, result, usage, workers: of }
}

/** The slices of producers. */
const stateOf = (hub: Hub, id: string) =>
  Object.entries(hub.state(`sessions/${id}/**`, ['*']).slices).filter(([name]) => !name.startsWith('$'))

/** What forks are, whatever keeps the sessions. */
export function forkSuite(t: Test, { options, knowsFormerState }: Keeping): void {
  async function aHub(t: Test, more: HubOptions = {}): Promise<Hub> {
    const report = (error: unknown) => t.error(error, 'nothing is reported')
    const hub = createHub({ report, ...(await options(t)), ...more })
    t.teardown(async () => {
      hub.close()
      await hub.closeStore()
    })
    return hub
  }

  t.test('begins with the past of the session, and goes on by itself', async (t) => {
    const hub = await aHub(t)
    await tell(hub, 's')
    await hub.submitSession('s', { mode: 'full', metadata: { title: 'Build' } })
    const before = hub.find('s') as SessionSummary
    const fork = await hub.forkSession('s', { session: 'f' })
    t.not(fork.epoch, before.epoch)
    t.match(fork, {
      id: 'f',
      offset: before.offset,
      metadata: { title: 'Build' },
      forkedFrom: { session: 's', at: formatCursor(before.epoch, before.offset), without: undefined },
    })
    t.strictSame(facts(fork), facts(before))
    t.strictSame(stateOf(hub, 'f'), stateOf(hub, 's'))
    const past = await eventsOf(hub, 's')
    t.strictSame(await eventsOf(hub, 'f'), past)

    const { first } = await hub.submit('sessions/f', [{ type: 'note', data: 'mine' }])
    t.ok(first > before.offset)
    await hub.submit('sessions/s', [{ type: 'note', data: 'its own' }])
    await hub.submitState('sessions/f', 'plan', { value: 'another' })
    t.equal((await eventsOf(hub, 'f')).at(-1)?.data, 'mine')
    t.equal((await eventsOf(hub, 's')).at(-1)?.data, 'its own')
    t.equal(hub.state('sessions/s').slices['plan'], 'first lint')
  })

  t.test('is at each cursor what the session was there', async (t) => {
    const hub = await aHub(t)
    const offsets = await tell(hub, 's')
    const { epoch } = hub.find('s') as SessionSummary
    for (const [index, offset] of offsets.entries()) {
      await tell(hub, `model-${index}`, index + 1)
      const at = formatCursor(epoch, offset as never)
      const fork = await hub.forkSession('s', { session: `f-${index}`, at, state: 'known' })
      t.equal(fork.offset, offset)
      t.strictSame(facts(fork), facts(hub.find(`model-${index}`) as SessionSummary), `after step ${index}`)
      t.strictSame(stateOf(hub, `f-${index}`), stateOf(hub, `model-${index}`), `state after step ${index}`)
      const placed = ({ offset: place, type, worker }: HubEvent) => [place, type, worker]
      t.strictSame(
        (await eventsOf(hub, `f-${index}`)).map(placed),
        (await eventsOf(hub, `model-${index}`)).map(placed),
      )
      await hub.submit(`sessions/f-${index}`, [{ type: 'note' }])
    }
  })

  t.test('tells who joins what is pinned', async (t) => {
    const hub = await aHub(t)
    await tell(hub, 's')
    await hub.forkSession('s', { session: 'f' })
    const types: string[] = []
    await hub.open('sessions/f')
    for await (const { type } of hub.subscribe('sessions/f')) {
      types.push(type)
      if (type === 'trigger_activated') break
    }
    t.ok(types.includes('execution_started'))
  })

  t.test('resumes from a cursor of its own in its past', async (t) => {
    const hub = await aHub(t)
    const offsets = await tell(hub, 's')
    const { epoch } = await hub.forkSession('s', { session: 'f' })
    const after = formatCursor(epoch, offsets[8] as never)
    await hub.open('sessions/f/**', after)
    const gaps: string[] = []
    const seen: number[] = []
    const reader = hub.subscribe('sessions/f/**', { after, onGap: ({ reason }) => gaps.push(reason) })
    for await (const { offset } of reader) {
      seen.push(offset)
      if (offset === offsets.at(-1)) break
    }
    t.strictSame(gaps, [])
    t.strictSame(seen, offsets.slice(9))
  })

  t.test('runs on where the session has ended', async (t) => {
    const hub = await aHub(t)
    await tell(hub, 's')
    const before = facts(hub.find('s') as SessionSummary)
    await hub.submitEnd('s', 'done')
    const fork = await hub.forkSession('s', { session: 'f' })
    t.strictSame(facts(fork), before)
    t.notOk((await eventsOf(hub, 'f')).some(({ type }) => type === 'complete'))
    t.equal((await hub.submit('sessions/f', [{ type: 'note' }])).accepted, 1)
    t.equal(hub.find('s')?.status, 'ended')
  })

  t.test('stays when the session is removed, and can be forked again', async (t) => {
    const hub = await aHub(t)
    await tell(hub, 's')
    const past = await eventsOf(hub, 's')
    await hub.forkSession('s', { session: 'f' })
    await hub.removeSession('s')
    const again = await hub.forkSession('f', { session: 'g' })
    t.equal(again.forkedFrom?.session, 'f')
    await hub.removeSession('f')
    t.strictSame(await eventsOf(hub, 'g'), past)
  })

  t.test('refuses what it cannot know', async (t) => {
    const hub = await aHub(t)
    const offsets = await tell(hub, 's')
    const { epoch } = hub.find('s') as SessionSummary
    await hub.submitState('sessions/s', 'plan', { value: 'another' })
    const at = formatCursor(epoch, offsets[4] as never)
    if (knowsFormerState) {
      await hub.forkSession('s', { session: 'f', at })
      t.equal(hub.state('sessions/f').slices['plan'], 'first lint')
    } else {
      await t.rejects(hub.forkSession('s', { session: 'f', at }), { code: 'conflict', message: /slices/ })
      const fork = await hub.forkSession('s', { session: 'f', at, state: 'known' })
      t.strictSame(fork.forkedFrom?.without, ['slices'])
      t.equal(hub.state('sessions/f').slices['plan'], undefined)
    }
    await hub.submitState('sessions/s', 'plan', { removed: true })
    const later = formatCursor(epoch, offsets.at(-1) as never)
    if (knowsFormerState) await hub.forkSession('s', { session: 'g', at: later })
    else await t.rejects(hub.forkSession('s', { session: 'g', at: later }), { code: 'conflict' })

    await t.rejects(hub.forkSession('s', { session: 'f' }), { code: 'conflict', message: /already/ })
    await t.rejects(hub.forkSession('s', { session: 's' }), { code: 'conflict' })
    await t.rejects(hub.forkSession('nobody', { session: 'h' }), { code: 'notFound' })
    await t.rejects(hub.forkSession('s', { session: 'h', at: 'other:1' }), { code: 'conflict' })
    await t.rejects(hub.forkSession('s', { session: 'h', at: 'nonsense' }), { code: 'badFrame' })
    await t.rejects(hub.forkSession('s', { session: 'h', at: formatCursor(epoch, 900 as never) }), {
      code: 'badFrame',
    })
    await t.rejects(hub.forkSession('s', { session: '..' }), { code: 'badFrame' })
    await t.rejects(hub.forkSession('s', { state: 'some' as 'known' }), { code: 'badFrame' })
    t.match(await hub.forkSession('s', {}), { forkedFrom: { session: 's' } })
  })

  t.test('has nothing of what was promised to producers, or asked of them', async (t) => {
    const hub = await aHub(t)
    await hub.submit('sessions/s/workers/w', [{ type: 'note', id: 'one' }])
    await hub.submitLease('sessions/s/workers/w', 3_600_000)
    await hub.submit('sessions/s/workers/w', [{ type: 'command.cancel' }])
    const fork = await hub.forkSession('s', { session: 'f' })
    t.equal(fork.workers[0]?.events, 1)
    const again = await hub.submit('sessions/f/workers/w', [{ type: 'note', id: 'one' }])
    t.strictSame([again.accepted, again.duplicates], [1, 0])
    const slices = hub.state('sessions/f/workers/w', ['$commands']).slices
    t.strictSame(slices, {})
    const done = { type: 'command.done', data: { offset: 2, state: 'applied' } }
    await t.rejects(hub.submit('sessions/f/workers/w', [done]), { code: 'conflict' })
  })

  t.test('masks the secrets of the session', async (t) => {
    const hub = await aHub(t)
    await hub.submit('sessions/s', [{ type: 'note' }])
    await hub.submitSecrets('s', [{ kind: 'door', value: 'open sesame' }])
    await hub.forkSession('s', { session: 'f' })
    await hub.submitSecrets('f', ['another one'])
    await hub.forkSession('f', { session: 'g' })
    for (const id of ['f', 'g']) {
      await hub.submit(`sessions/${id}`, [{ type: 'note', data: 'say open sesame, or another one' }])
      t.equal((await eventsOf(hub, id)).at(-1)?.data, 'say [secret:door], or [secret:value]')
    }
  })

  t.test('who follows its name already comes back to it', async (t) => {
    const hub = await aHub(t)
    await tell(hub, 's')
    await hub.open('sessions/f')
    const reader = hub.subscribe('sessions/f')
    const read = (async () => {
      for await (const _ of reader) t.fail('nothing is published')
    })()
    const ended = t.rejects(read, { message: /lagging/ })
    await hub.forkSession('s', { session: 'f' })
    await ended
    t.equal(hub.find('f')?.forkedFrom?.session, 's')
  })
}
