import t from 'tap'
import { uwsTransport } from '../../src/transport/uws.js'
import { transportConformance } from '../conformance/transport.js'

t.test('uWebSockets.js as a transport', async (t) => {
  transportConformance(t, (service, options) => uwsTransport(service, options))
})
