import t from 'tap'
import { type Client, setUp } from './hub-kit.js'

t.test('a fault in what is done for one connection costs that connection alone', async (t) => {
  const told: string[] = []
  const { hub, clock, client } = setUp({
    report: (error, connection) => told.push(`${connection}: ${(error as Error).message}`),
  })
  const [whole, broken, many, ending] = [client(), client(), client(), client()]
  for (const one of [whole, broken, many, ending]) one.subscribe('sessions/a')
  many.subscribe('sessions/b')
  clock.runTurn()
  const fail = (of: Client, name: 'write' | 'cork' | 'close', text: string) => {
    of.connection.link[name] = () => {
      throw new Error(text)
    }
  }
  fail(broken, 'write', 'cannot write')
  fail(many, 'cork', 'cannot cork')
  fail(ending, 'write', 'cannot write either')
  fail(ending, 'close', 'nor close')
  for (const session of ['a', 'b']) hub.publish(`sessions/${session}`, [{ type: 'one' }])
  clock.runTurn()
  hub.publish('sessions/a', [{ type: 'two' }])
  clock.runTurn()
  t.same(whole.take(), ['1 one', '2 two'])
  t.same(broken.endings, ['internalError'])
  t.same(many.endings, ['internalError'])
  t.notOk(ending.connection.open)
  t.same(
    told.toSorted(),
    [
      `${broken.connection.id}: cannot write`,
      `${many.connection.id}: cannot cork`,
      `${ending.connection.id}: cannot write either`,
      `${ending.connection.id}: nor close`,
    ].toSorted(),
  )
  t.match(hub.stats(), { faults: 4, connections: 1, subscriptions: 1, feeds: 1 })
})

t.test('a fault on catching up costs that connection alone', async (t) => {
  const told: unknown[] = []
  const { hub, clock, client } = setUp({ report: (error) => told.push(error) })
  const [whole, broken] = [client(), client(1)]
  for (const one of [whole, broken]) one.subscribe('sessions/a')
  clock.runTurn()
  broken.peer.stall()
  for (const type of ['one', 'two', 'three']) {
    hub.publish('sessions/a', [{ type }])
    clock.runTurn()
  }
  t.equal(broken.connection.lagging, 1)
  broken.connection.link.cork = () => {
    throw new Error('cannot cork')
  }
  broken.peer.resume()
  clock.runTurn()
  t.match(told, [{ message: 'cannot cork' }])
  t.match(hub.stats(), { faults: 1, connections: 1, subscriptions: 1, lagging: 0 })
  hub.publish('sessions/a', [{ type: 'four' }])
  clock.runTurn()
  t.same(whole.take(), ['1 one', '2 two', '3 three', '4 four'])
})
