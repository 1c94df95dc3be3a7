import t from 'tap'
import { ProtocolError } from '../../src/protocol/codes.js'

t.test("a peer's mistake is not told with a stack, a mistake of the hub's is", async (t) => {
  t.notMatch(new ProtocolError('badFrame', 'no').stack, /codes\.test/)
  t.match(new Error('no').stack, /codes\.test/)
})
