import t from 'tap'
import { nodeTransport } from '../../src/transport/node.js'
import type { Service, TransportOptions } from '../../src/transport/transport.js'
import { transportConformance } from '../conformance/transport.js'

const make = (service: Service, options: TransportOptions) => nodeTransport(service, options)

t.test('node:http and ws as a transport', async (t) => {
  transportConformance(t, make)
})
