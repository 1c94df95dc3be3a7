import t from 'tap'
import { bodies, requests } from '../conformance/transport-requests.js'
import { streams } from '../conformance/transport-streams.js'
import { fetchTransport } from '../kit/fetch-server.js'

t.test('a request and a response of the fetch standard as a transport', async (t) => {
  requests(t, fetchTransport)
  bodies(t, fetchTransport)
  streams(t, fetchTransport)
})
