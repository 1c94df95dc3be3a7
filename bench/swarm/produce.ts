import http from 'node:http'
import { Packr } from 'msgpackr'
import WebSocket from 'ws'
import { benchSession, benchTopic, benchType, formatMark, padFor } from '../harness/event.js'
import type { Production } from '../harness/messages.js'

const packr = new Packr({ useRecords: false })

const contentTypes = {
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  msgpack: 'application/msgpack',
  stream: 'application/json',
}

/**
 * Publishes over the network. Bodies are made before the first is sent, and sent again and again: marks do not
 * matter where nobody receives.
 *
 * @returns how many events the server says that it has accepted
 */
export async function produce(production: Production): Promise<{ accepted: number }> {
  const { as, producers, bytes } = production
  const pad = padFor(bytes)
  const events = Array.from({ length: production.events }, (_, index) => ({
    type: benchType,
    data: { mark: formatMark(index + 1, 0), pad },
  }))
  const work = as === 'ws' ? publishFrames(production, events) : publishBodies(production, bodyOf(as, events))
  const counts = await Promise.all(Array.from({ length: producers }, work))
  return { accepted: counts.reduce((sum, count) => sum + count, 0) }
}

function bodyOf(as: keyof typeof contentTypes, events: readonly { readonly data: object }[]): Buffer {
  switch (as) {
    case 'json':
      return Buffer.from(JSON.stringify(events.length === 1 ? events[0] : events))
    case 'ndjson':
      return Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(''))
    case 'msgpack':
      return packr.pack(events)
    case 'stream':
      return Buffer.from(JSON.stringify(events.map(({ data }) => data)))
  }
}

function publishBodies(
  { port, as, requests, events, path }: Production,
  body: Buffer,
): () => Promise<number> {
  return async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const options = {
      agent,
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: path ?? `/api/sessions/${benchSession}/events`,
      headers: { 'content-type': contentTypes[as as 'json'], 'content-length': body.length },
    }
    let accepted = 0
    for (let request = 0; request < requests; request += 1) accepted += (await post(options, body)) ?? events
    agent.destroy()
    return accepted
  }
}

/** @returns how many events the server says that it has accepted; nothing where it says no number */
function post(options: http.RequestOptions, body: Buffer): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
      })
      response.on('end', () => {
        if (response.statusCode === 200) resolve((JSON.parse(text) as { accepted: number }).accepted)
        else if (response.statusCode === 204) resolve(undefined)
        else reject(new Error(`publishing was answered with ${response.statusCode}: ${text}`))
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

function publishFrames({ port, requests }: Production, events: readonly object[]): () => Promise<number> {
  const frame = packr.pack({ type: 'publish', ref: 1, topic: benchTopic, events })
  return () =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/api/ws`, ['runcast.v1.msgpack'], {
        perMessageDeflate: false,
      })
      let answered = 0
      socket.on('error', reject)
      socket.on('close', (code) => reject(new Error(`a producer was closed with ${code}`)))
      socket.on('open', () => socket.send(frame))
      socket.on('message', (message: Buffer, binary) => {
        const answer = (binary ? packr.unpack(message) : JSON.parse(message.toString('utf8'))) as {
          type: string
        }
        if (answer.type === 'error') reject(new Error(JSON.stringify(answer)))
        if (answer.type !== 'published') return
        answered += 1
        if (answered < requests) return socket.send(frame)
        socket.terminate()
        resolve(answered * events.length)
      })
    })
}
