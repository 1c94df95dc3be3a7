import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { Entry } from '../../src/history/entry.js'
import type { JsonValue } from '../../src/lib/json.js'
import { Weight } from '../../src/lib/weight.js'
import type { Epoch, Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { commandName, Journal } from '../../src/session/journal.js'
import type { SessionBatch, SessionRecord, WorkerRecord } from '../../src/store/store.js'

const catalog = createCatalog()
const at = (offset: number) => offset as Offset

/** A journal, and what it asks and tells of. */
function begin() {
  const weight = new Weight()
  const source = {
    id: 's',
    epoch: 'e' as Epoch,
    offset: at(0),
    record: () => ({ session: 's', status: 'running' }) as SessionRecord,
    formerIds: () => [7],
  }
  const waits: Journal[] = []
  const journal = new Journal(source, { idsMax: 5, weight, waiting: (waiting) => void waits.push(waiting) })
  const add = (offset: number, type: string, more: Partial<HubEvent> = {}, bytes = 10) => {
    source.offset = at(offset)
    const event: HubEvent = { offset: at(offset), type, time: 1, data: null, ...more }
    journal.add(new Entry(event, catalog.traitsOf(type), bytes))
  }
  return { journal, source, weight, waits, add }
}

const offsetsOf = ({ events = [] }: SessionBatch) => events.map(({ offset }) => offset)

t.test('a batch has what has changed, and nothing else', async (t) => {
  const { journal, add, waits, weight } = begin()
  const nothing = { session: 's', idsMax: 5, events: [], ids: [], workers: [], slices: [], latest: [] }
  t.strictSame(journal.take(), { ...nothing, last: 0 }, 'neither a record nor former ids')
  journal.settle()
  add(1, 'note')
  add(2, 'note')
  t.equal(waits.length, 1, 'it is told of once for each batch')
  t.equal(weight.bytes, 20)
  t.equal(journal.ahead, 2)
  t.strictSame(offsetsOf(journal.take()), [1, 2])
  t.equal(journal.kept, 0, 'not before it is stored')
  add(3, 'note')
  t.equal(waits.length, 2)
  journal.settle()
  t.equal(journal.kept, 2)
  t.equal(weight.bytes, 10)
  journal.recordChanged()
  journal.formerIdsChanged()
  journal.addId({ id: 'a', worker: '', offset: at(3) })
  const batch = journal.take()
  t.match(batch, { record: { session: 's' }, formerIds: [7], ids: [{ id: 'a' }] })
  journal.settle()
  t.equal(weight.bytes, 0)
  journal.settle()
  t.equal(weight.bytes, 0, 'nothing is taken')
  journal.offsetTaken()
  t.strictSame(journal.take(), { ...nothing, last: 3 })
})

t.test('workers are asked when the batch is taken, those that have not begun are left out', async (t) => {
  const { journal } = begin()
  let events = 1
  journal.workerChanged({ record: () => ({ worker: 'w', events }) as unknown as WorkerRecord })
  journal.workerChanged({ record: () => undefined })
  events = 2
  t.strictSame(journal.take().workers, [{ worker: 'w', events: 2 }])
})

t.test('the newest of each kind is pinned, and a command until it is forgotten', async (t) => {
  const { journal, add } = begin()
  add(1, 'trigger_updated', { key: 'k' })
  add(2, 'trigger_updated', { key: 'k' })
  add(3, 'trigger_updated', { key: 'k', worker: 'w' })
  add(4, 'command.cancel', { worker: 'w' })
  add(5, 'command.cancel')
  add(6, 'note')
  journal.forget(commandName({ worker: undefined, type: 'command.cancel', offset: at(5) }))
  const { latest = [] } = journal.take()
  const pinned = latest.map(({ worker = '-', type, key, event }) => [worker, type, key, event?.offset])
  t.same(pinned, [
    ['-', 'trigger_updated', 'k', 2],
    ['w', 'trigger_updated', 'k', 3],
    ['w', 'command.cancel', '#4', 4],
    ['-', 'command.cancel', '#5', undefined],
  ])
})

t.test('a batch that was not stored comes first in the next one', async (t) => {
  const { journal, add, weight } = begin()
  add(1, 'note')
  journal.addId({ id: 'a', worker: '', offset: at(1) })
  journal.formerIdsChanged()
  journal.workerChanged({ record: () => ({ worker: 'w' }) as WorkerRecord })
  journal.forget(commandName({ worker: undefined, type: 'command.cancel', offset: at(1) }))
  journal.take()
  add(2, 'note')
  journal.addId({ id: 'b', worker: '', offset: at(2) })
  journal.recordChanged()
  journal.putBack()
  journal.putBack()
  t.equal(weight.bytes, 20)
  const again = journal.take()
  t.strictSame(offsetsOf(again), [1, 2])
  t.strictSame(
    again.ids?.map(({ id }) => id),
    ['a', 'b'],
  )
  t.match(again, { formerIds: [7], record: { session: 's' }, last: 2, workers: [{ worker: 'w' }] })
  t.match(again.latest, [{ type: 'command.cancel', key: '#1' }])
  journal.settle()
  t.equal(weight.bytes, 0)
  t.equal(journal.kept, 2)
})

t.test('of a removed session nothing is stored any more', async (t) => {
  const { journal, add, weight } = begin()
  add(1, 'note')
  journal.take()
  add(2, 'note')
  journal.drop()
  t.ok(journal.dropped)
  t.equal(weight.bytes, 10)
  journal.putBack()
  t.equal(weight.bytes, 0)
  t.strictSame(offsetsOf(journal.take()), [])
})

t.test('only what is stored can have been trimmed', async (t) => {
  const { journal, add } = begin()
  journal.restored({ last: at(5), floor: at(3), trimmed: at(1) })
  t.strictSame([journal.kept, journal.floor, journal.trimmed, journal.restoredAt], [5, 3, 1, 5])
  journal.trimmedTo(at(4))
  t.equal(journal.trimmed, 4)
  journal.trimmedTo(at(2))
  t.equal(journal.trimmed, 4, 'it does not go back')
  add(9, 'note')
  journal.trimmedTo(at(9))
  t.equal(journal.trimmed, 4, 'that was another session with this id')
  journal.trimmedTo(at(5))
  t.equal(journal.trimmed, 5)
})

t.test('changes of slices are stored with their patches, or whole', async (t) => {
  const { journal } = begin()
  const change = (offset: number, data: JsonValue, worker?: string) =>
    new Entry(
      { offset: at(offset), type: 'state.update', time: 1, data, ...(worker !== undefined && { worker }) },
      catalog.traitsOf('state.update'),
      5,
    )
  const patch = [{ op: 'add', path: '/a', value: 1 }]
  journal.addChange(change(1, { slice: 'plan', value: {} }), {})
  journal.addChange(change(2, { slice: 'plan', patch }, 'w'), { a: 1 })
  journal.addChange(change(3, { slice: 'old', removed: true }), undefined)
  const expected = [
    { slice: 'plan', offset: 1, value: {} },
    { worker: 'w', slice: 'plan', offset: 2, value: { a: 1 }, patch },
    { slice: 'old', offset: 3 },
  ]
  t.strictSame(journal.take().slices, expected)
  journal.putBack()
  journal.rewriteSlices([{ slice: 'plan', offset: at(4), value: { b: 1 } }])
  t.strictSame(journal.take().slices, [expected[2], { slice: 'plan', offset: 4, value: { b: 1 } }])
})
