import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { openStore } from '../../src/store/open.js'

/** Publishes one event with the id `1` to the session and to two workers, and says which were new. */
function publishAll(hub: Hub): number[] {
  return [undefined, 'a', 'b'].map((worker) => hub.publishTo('s', worker, [{ type: 'x', id: '1' }]).accepted)
}

t.test('the id of an event counts within its topic', async (t) => {
  const hub = createHub()
  t.strictSame(publishAll(hub), [1, 1, 1])
  t.strictSame(publishAll(hub), [0, 0, 0])
  t.match(hub.session('s').worker('b').publish({ type: 'x', id: '1' }), { first: 3, last: 3, duplicates: 1 })
  const both = [
    { type: 'x', id: '1' },
    { type: 'x', id: '1' },
  ]
  t.match(hub.publishTo('s', ['a', 'c'], both), { first: 2, last: 4, accepted: 1 }, 'each has its own worker')
  t.equal(
    hub.session('s').publish({ type: 'x', id: 'a/1' }).accepted,
    1,
    'an id that looks like one of a worker',
  )

  hub.endSession('s')
  t.match(
    hub.publishTo('s', 'b', [{ type: 'x', id: '1' }]),
    { first: 3, duplicates: 1 },
    'also after the end',
  )
  t.throws(() => hub.publishTo('s', 'd', [{ type: 'x', id: '1' }]), { code: 'conflict' })
})

t.test('a restart keeps the ids of each topic', async (t) => {
  const directory = t.testdir()
  const run = async () => {
    const hub = createHub({ store: await openStore({ directory }) })
    const accepted = publishAll(hub)
    await hub.committed('s')
    hub.close()
    await hub.closeStore()
    return accepted
  }
  t.strictSame(await run(), [1, 1, 1])
  t.strictSame(await run(), [0, 0, 0])
})

t.test('ids that an earlier version has stored count for all topics of their session', async (t) => {
  const directory = t.testdir()
  const store = await openStore({ directory })
  const record = { session: 's', epoch: 'e', status: 'running', startedAt: 1 } as const
  const last = 1 as Offset
  const events = [{ offset: last, type: 'x', time: 1, id: '1', data: null }]
  await store.commit({
    at: 1,
    sessions: [{ session: 's', record, last, events, ids: [{ id: '1', offset: last }] }],
  })
  await store.close()

  const hub = createHub({ store: await openStore({ directory }) })
  t.teardown(() => hub.closeStore())
  t.strictSame(publishAll(hub), [0, 0, 0])
  t.equal(hub.publishTo('s', 'a', [{ type: 'x', id: '2' }]).accepted, 1)
  t.equal(hub.publishTo('s', 'b', [{ type: 'x', id: '2' }]).accepted, 1)
})
