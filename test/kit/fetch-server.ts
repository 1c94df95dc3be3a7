import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FetchEndpoint, headOf } from '../../src/transport/fetch.js'
import type { Service, Transport, TransportOptions } from '../../src/transport/transport.js'

type Answering = (request: Request, address: string) => Promise<Response>

/** A server of others in small: it knows of requests and responses of the fetch standard, and of sockets. */
export function fetchServer(answering: Answering, headBytesMax?: number) {
  const bounds = headBytesMax === undefined ? {} : { maxHeaderSize: headBytesMax }
  return createServer(bounds, (req, res) => void pass(req, res, answering).catch(() => res.destroy()))
}

/** It as a transport, so that what every transport must do can be asked of it. */
export function fetchTransport(service: Service, options: TransportOptions): Transport {
  return {
    async listen({ host, port }) {
      const endpoint = new FetchEndpoint(service, options)
      const server = fetchServer((request, address) => {
        const { pathname } = new URL(request.url)
        return endpoint.answer(request, headOf(request, pathname, address))
      }, options.headBytesMax)
      server.listen(port, host)
      await once(server, 'listening')
      return {
        host,
        port: (server.address() as AddressInfo).port,
        stopAccepting: () => void server.close(),
        async close() {
          server.close()
          server.closeAllConnections()
        },
      }
    },
  }
}

async function pass(req: IncomingMessage, res: ServerResponse, answering: Answering): Promise<void> {
  const abort = new AbortController()
  res.on('close', () => abort.abort())
  const headers = new Headers()
  for (let at = 0; at < req.rawHeaders.length; at += 2) {
    headers.append(req.rawHeaders[at] as string, req.rawHeaders[at + 1] as string)
  }
  const bodiless = req.method === 'GET' || req.method === 'HEAD'
  const body = bodiless ? null : bodyOf(req)
  const init = { method: req.method ?? 'GET', headers, body, signal: abort.signal, duplex: 'half' } as const
  const url = `http://${req.headers.host ?? 'localhost'}${req.url}`
  const response = await answering(new Request(url, init), req.socket.remoteAddress ?? '')
  res.writeHead(response.status, [...response.headers])
  // What nobody will read of the body.
  res.on('finish', () => req.resume())
  if (response.body === null) return void res.end()
  const reader = response.body.getReader()
  res.on('close', () => void reader.cancel().catch(() => {}))
  for (;;) {
    const { value, done } = await reader.read()
    if (done) break
    if (!res.write(value)) await new Promise((resolve) => res.once('drain', resolve))
    if (res.destroyed) return
  }
  res.end()
}

/** The body as it comes, read no further than somebody asks. */
function bodyOf(req: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = req.iterator({ destroyOnReturn: false })
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value, done } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value as Uint8Array)
      },
    },
    { highWaterMark: 0 },
  )
}
