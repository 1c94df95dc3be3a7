import { opcodes, rawFrame } from '../kit/raw-websocket.js'
import type { Attack, Target } from './attacks.js'
import { openRaw, until, withClients } from './attacks.js'

// What one holder of rights may try to keep the others out, or to hold them up, within the default limits.

const json = { 'content-type': 'application/json' }

/** Others get through while it goes on. @throws Error where they do not */
async function othersPublish({ url, topic }: Target, times: number): Promise<void> {
  for (let time = 0; time < times; time += 1) {
    const response = await fetch(`${url}/api/${topic}/events`, {
      method: 'POST',
      headers: json,
      body: '{"type":"other"}',
    })
    if (!response.ok && response.status !== 429) throw new Error(`publishing was answered ${response.status}`)
  }
}

async function setSlice({ url }: Target, slice: string, value: unknown): Promise<void> {
  const body = JSON.stringify(value)
  await (await fetch(`${url}/api/sessions/own/state/${slice}`, { method: 'PUT', headers: json, body })).text()
}

function named(prefix: string, count: number): Record<string, number> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`${prefix}${n}`, n]))
}

export const fairnessAttacks: Readonly<Record<string, Attack>> = {
  '64 lines of a megabyte that do not end': (target) =>
    withClients(target, 64, async (clients) => {
      const head =
        'POST /api/sessions/own/workers/w/events HTTP/1.1\nhost: 127.0.0.1\ncontent-type: application/x-ndjson\ncontent-length: 2000000\n\n'
      for (const client of clients) client.send(head)
      // In pieces: who shares a core with the attacker must not wait for the kernel to take megabytes at once.
      const piece = Buffer.alloc(50_000, 'x')
      for (let sent = 0; sent < 1_000_000; sent += piece.length) {
        for (const { socket } of clients) socket.write(piece)
        await new Promise((resolve) => setImmediate(resolve))
      }
      await othersPublish(target, 20)
    }),

  'tickets by the thousand': async ({ url }) => {
    for (let round = 0; round < 10; round += 1) {
      const asked = Array.from({ length: 50 }, () => fetch(`${url}/api/ticket`, { method: 'POST' }))
      for (const response of await Promise.all(asked)) await response.text()
    }
  },

  'megabytes published to a session of its own': async (target) => {
    const event = `${JSON.stringify({ type: 'bulk', data: 'x'.repeat(10_000) })}\n`
    for (let worker = 0; worker < 10; worker += 1) {
      const response = await fetch(`${target.url}/api/sessions/own/workers/w${worker}/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-ndjson' },
        body: event.repeat(300),
      })
      await response.text()
    }
    await othersPublish(target, 1)
  },

  'states that have nothing in common with those before': async (target, random) => {
    const prefix = `k${random.integer(1, 1_000_000)}-`
    // The one is refused, the other is the largest that is accepted.
    for (const count of [60_000, 9_990]) await setSlice(target, 'names', named(prefix, count))
    const numbers = Array.from({ length: 90_000 }, (_, n) => n)
    await setSlice(target, 'list', random.chance(0.5) ? numbers : numbers.reverse())
  },

  'pings without end': async (target) => {
    const client = await openRaw(target)
    const pings = Buffer.concat(
      Array.from({ length: 10_000 }, () => rawFrame({ opcode: opcodes.ping, payload: '' })),
    )
    for (let round = 0; round < 10 && !client.closed; round += 1) {
      const before = client.bytes
      client.socket.write(pings)
      await until('something comes', () => client.closed || client.bytes > before)
    }
    client.socket.destroy()
  },
}
