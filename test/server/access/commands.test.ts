import { pack, unpack } from 'msgpackr'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { dial, overTransports, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'

const worker = 'sessions/s/workers/w'
const cancel = { type: 'command.cancel', data: { reason: 'enough' } }

async function begun(t: Test): Promise<Served> {
  const it = await served(t, { serve: { auth: { secrets: [secret] } } })
  it.hub.session('s').publish({ type: 'start' })
  for (const id of ['w', 'v']) it.hub.session('s').worker(id).publish({ type: 'start' })
  it.hub.session('other').publish({ type: 'start' })
  return it
}

/** Sends frames over a WebSocket, and gives what each was answered: `published` or the code of the error. */
async function answers(url: string, token: string, codec: 'json' | 'msgpack', frames: readonly object[]) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, [
    `runcast.v1.${codec}`,
    `bearer.${token}`,
  ])
  socket.binaryType = 'nodebuffer'
  const found: unknown[] = []
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('open', () => {
      for (const [ref, frame] of frames.entries()) {
        const whole = { ref, ...frame }
        socket.send(codec === 'json' ? JSON.stringify(whole) : pack(whole))
      }
    })
    socket.on('message', (bytes: Buffer) => {
      const frame = (codec === 'json' ? JSON.parse(bytes.toString('utf8')) : unpack(bytes)) as {
        type: string
        code?: string
      }
      if (frame.type === 'welcome' || frame.type === 'authorized') return
      found.push(frame.code ?? frame.type)
      if (found.length === frames.length) resolve()
    })
  })
  socket.terminate()
  return found
}

overTransports(t, (t) => {
  t.test('a token with command for one worker can send it commands, and do nothing else', async (t) => {
    const { url, hub } = await begun(t)
    const token = await mint({ command: [worker] })
    const ask = async (
      method: string,
      path: string,
      body?: string | Uint8Array,
      type = 'application/json',
    ) => {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { 'content-type': type }) },
        ...(body !== undefined && { body }),
      })
      await response.arrayBuffer()
      return response.status
    }
    const events = `/api/${worker}/events`
    const json = JSON.stringify
    t.equal(await ask('POST', events, json(cancel)), 200)
    t.equal(await ask('POST', events, json([cancel, { type: 'command.pause' }])), 200)
    t.equal(await ask('POST', events, `${json(cancel)}\n${json(cancel)}\n`, 'application/x-ndjson'), 200)
    t.equal(await ask('POST', events, pack(cancel), 'application/msgpack'), 200)
    t.equal(await ask('POST', events, `data: ${json(cancel)}\n\n`, 'text/event-stream'), 200)
    const before = hub.find('s')
    const refused: [string, string, (string | Uint8Array)?, string?][] = [
      ['POST', events, json({ type: 'note' })],
      ['POST', events, json([cancel, { type: 'note' }])],
      ['POST', events, '[]'],
      ['POST', events, json({ type: 'command.done', data: { offset: 4, state: 'applied' } })],
      ['POST', events, json({ type: 'command.other' })],
      ['POST', events, `${json({ type: 'note' })}\n`, 'application/x-ndjson'],
      ['POST', events, pack({ type: 'note' }), 'application/msgpack'],
      ['POST', events, 'data: {"type":"note"}\n\n', 'text/event-stream'],
      ['POST', `${events}?dialect=task-log`, json({ type: 'complete' })],
      ['POST', `${events}?from=claude-code`, json({ type: 'system' })],
      ['POST', '/api/sessions/s/events', json(cancel)],
      ['POST', '/api/sessions/s/workers/v/events', json(cancel)],
      ['POST', '/api/sessions/other/events', json(cancel)],
      ['POST', '/api/sessions/new/events', json(cancel)],
      ['PUT', `/api/${worker}/lease`, json({ ms: 1000 })],
      ['PUT', `/api/${worker}/state/plan`, '1'],
      ['GET', `/api/${worker}/state`],
      ['GET', `/api/${worker}/events`],
      ['GET', `/api/${worker}/history`],
      ['GET', '/api/sessions/s'],
      ['PUT', '/api/sessions/s', '{}'],
      ['POST', '/api/sessions/s/end', '{}'],
      ['DELETE', '/api/sessions/s'],
    ]
    for (const [method, path, body, type] of refused) {
      t.equal(await ask(method, path, body, type), 403, `${method} ${path} ${String(body)}`)
    }
    const frames = [
      { type: 'publish', topic: worker, events: [cancel] },
      { type: 'publish', topic: worker, events: [cancel, { type: 'note' }] },
      { type: 'publish', topic: worker, events: [] },
      { type: 'publish', topic: 'sessions/s/workers/v', events: [cancel] },
      { type: 'publish', topic: 'sessions/s', events: [cancel] },
      { type: 'lease', topic: worker, ms: 1_000 },
      { type: 'set', topic: worker, slice: 'plan', value: 1 },
      { type: 'patch', topic: worker, slice: 'plan', patch: [] },
      { type: 'merge', topic: worker, slice: 'plan', merge: 1 },
    ]
    const expected = [
      'forbidden',
      'forbidden',
      'forbidden',
      'forbidden',
      'forbidden',
      'forbidden',
      'forbidden',
      'forbidden',
    ]
    for (const codec of ['json', 'msgpack'] as const) {
      t.strictSame(
        (await answers(url, token, codec, frames)).toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
        [...expected, 'published'].toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
        codec,
      )
    }
    const subscriber = await dial(t, url, ['runcast.v1.json', `bearer.${token}`])
    subscriber.send({ type: 'subscribe', sub: 1, topic: worker })
    t.match(await subscriber.expect('error'), { code: 'forbidden' })
    t.strictSame(hub.find('s')?.workers, before?.workers, 'nothing else has changed')
    t.equal(Object.keys(hub.state(worker, ['$commands']).slices['$commands'] as object).length, 9)
    t.notOk(hub.find('new'))
  })

  t.test('a page of another origin commands with a token, or where its origin was listed', async (t) => {
    const open = await served(t)
    open.hub.session('s').publish({ type: 'start' })
    const status = async (url: string, origin: string | undefined, type: string) => {
      const response = await fetch(`${url}/api/sessions/s/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(origin && { origin }) },
        body: JSON.stringify({ type }),
      })
      await response.arrayBuffer()
      return response.status
    }
    const page = 'http://localhost:3000'
    t.equal(await status(open.url, page, 'note'), 200)
    t.equal(await status(open.url, page, 'command.cancel'), 403)
    t.equal(await status(open.url, open.url, 'command.cancel'), 200)
    t.equal(await status(open.url, undefined, 'command.cancel'), 200)
    const foreign = await dial(t, open.url, ['runcast.v1.json'], { origin: page })
    const send = { type: 'publish', ref: 1, topic: 'sessions/s', events: [{ type: 'command.cancel' }] }
    foreign.send(send)
    t.match(await foreign.expect('error'), { code: 'forbidden' })
    foreign.send({ type: 'authorize', token: 'anything' })
    await foreign.expect('authorized')
    foreign.send(send)
    t.match(
      await foreign.expect('error'),
      { code: 'forbidden' },
      'a token that nobody asked for gives nothing',
    )
    const own = await dial(t, open.url, ['runcast.v1.json'], { origin: open.url })
    own.send(send)
    await own.expect('published')
    const listed = await served(t, { serve: { origins: [page] } })
    listed.hub.session('s').publish({ type: 'start' })
    t.equal(await status(listed.url, page, 'command.cancel'), 200)
  })
})
