import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { exact } from '../../kit/over-log.js'
import { dial, openStream, served } from '../../kit/served.js'

const long = 'a text that is long enough for a patch to be smaller than the value it leads to'

interface Reply {
  readonly status: number
  readonly etag: string | null
  readonly body: unknown
}

function client(url: string) {
  return async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const response = await fetch(`${url}/api/sessions/${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(text === undefined ? {} : { body: text }),
    })
    const answer = await response.text()
    return {
      status: response.status,
      etag: response.headers.get('etag'),
      body: answer === '' ? undefined : JSON.parse(answer),
    }
  }
}

const jsonPatch = { 'content-type': 'application/json-patch+json' }
const mergePatch = { 'content-type': 'application/merge-patch+json' }

t.test('curl alone can drive state', async (t: Test) => {
  const { url } = await served(t)
  const curl = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)('curl', ['-s', ...args])
    return JSON.parse(stdout)
  }
  const state = `${url}/api/sessions/s/state`
  t.match(await curl('-X', 'PUT', '-d', '{"step":1,"list":[]}', `${state}/plan`), {
    offset: 1,
    changed: true,
  })
  const patch = '[{"op":"test","path":"/step","value":1},{"op":"add","path":"/list/-","value":"a"}]'
  const patched = [
    '-X',
    'PATCH',
    '-H',
    'content-type: application/json-patch+json',
    '-d',
    patch,
    `${state}/plan`,
  ]
  t.match(await curl(...patched), { offset: exact(2), changed: true })
  const merged = ['-X', 'PATCH', '-H', 'content-type: application/merge-patch+json', '-d', '{"step":null}']
  t.match(await curl(...merged, `${state}/plan`), { offset: exact(3), changed: true })
  t.match(await curl(...merged, `${state}/plan`), { offset: exact(3), changed: false })
  t.same(await curl(`${state}/plan`), { list: ['a'] })
  t.match(await curl(`${state}?slices=p*`), {
    epoch: String,
    offset: exact(3),
    slices: { plan: { list: ['a'] } },
  })
  t.match(await curl('-X', 'DELETE', `${state}/plan`), { offset: exact(4), changed: true })
  t.same((await curl(`${state}?slices=p*`)).slices, {})
  const worker = `${url}/api/sessions/s/workers/w/state`
  t.match(await curl('-X', 'PUT', '-d', '7', `${worker}/n`), { offset: exact(5), changed: true })
  t.same((await curl(`${worker}?slices=n`)).slices, { n: 7 })
  t.same((await curl(`${state}?all=1&slices=n`)).slices, { 'workers/w/n': 7 })
})

t.test('ETag and If-Match guard a slice against changes that were not seen', async (t) => {
  const { url } = await served(t)
  const ask = client(url)
  t.equal((await ask('PUT', 's/state/a', 1, { 'if-match': '*' })).status, 412)
  t.equal((await ask('GET', 's')).status, 404, 'nothing has begun')
  const { etag } = await ask('PUT', 's/state/a', 1)
  t.equal((await ask('GET', 's/state?slices=a')).etag, etag)
  t.equal(
    (await ask('GET', 's/state?slices=a', undefined, { 'if-none-match': `W/"x", ${etag}` })).status,
    304,
  )
  await ask('PUT', 's/state/b', 1)
  t.match(
    await ask('PUT', 's/state/a', 2, { 'if-match': etag as string }),
    { status: 200 },
    'b is another slice',
  )
  t.match(await ask('PUT', 's/state/a', 3, { 'if-match': etag as string }), {
    status: 412,
    body: { detail: /slice a changed at / },
  })
  t.match(await ask('DELETE', 's/state/a', undefined, { 'if-match': '"other:9"' }), { status: 412 })
  t.match(await ask('DELETE', 's/state/a', undefined, { 'if-match': 'what' }), { status: 400 })
  t.same((await ask('GET', 's/state/a')).body, 2)
})

t.test('a wrong request says what was wrong and changes nothing', async (t) => {
  const { url, hub } = await served(t, { hub: { limits: { sliceBytesMax: 1_000 } } })
  const ask = client(url)
  await ask('PUT', 's/state/a', { n: 1 })
  const nested = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  const wrong: [Promise<Reply>, number, object][] = [
    [ask('PUT', 's/state/a', '{"n":'), 400, { detail: /^body: / }],
    [ask('PUT', 's/state/a', ''), 400, { detail: /^body: / }],
    [ask('PUT', 's/state/a', 1, { 'content-type': 'text/html' }), 415, { detail: /expected one of/ }],
    [ask('PUT', 's/state/$session', 1), 400, { detail: /not beginning with \$/ }],
    [ask('PUT', 's/state/__proto__', 1), 400, {}],
    [ask('PUT', 's/state/a', 'x'.repeat(10_000)), 400, {}],
    [ask('PUT', 's/state/a', JSON.stringify('x'.repeat(10_000))), 413, { detail: /1000 bytes in a slice/ }],
    [ask('PUT', 's/state/a', nested), 400, { detail: /nested more than 68 levels deep/ }],
    [ask('PUT', 's/state/a', `{"n":[1,${nested}]}`), 400, { detail: /nested more than 68 levels deep/ }],
    [ask('PATCH', 's/state/a', nested, mergePatch), 400, { detail: /nested more than 68 levels deep/ }],
    [ask('PATCH', 's/state/a', []), 415, { detail: /json-patch\+json or application\/merge-patch\+json/ }],
    [ask('PATCH', 's/state/a', [{ op: 'nope', path: '' }], jsonPatch), 400, { pointer: '/0/op' }],
    [
      ask(
        'PATCH',
        's/state/a',
        [
          { op: 'add', path: '/x', value: JSON.parse('[[]]') },
          { op: 'remove', path: '/y' },
        ],
        jsonPatch,
      ),
      409,
      { detail: /^operation 1 \(remove "\/y"\): there is no "y"$/, pointer: '/1' },
    ],
    [ask('PATCH', 's/state/none', [], jsonPatch), 404, { detail: /no slice none/ }],
    [ask('PUT', 's/state/a', 1, { 'x-cause': '{"id":1}' }), 400, { detail: /^x-cause/ }],
    [ask('GET', 's/state/none'), 404, {}],
    [ask('GET', 'none/state'), 404, {}],
    [ask('GET', 's/state?slices=a b'), 400, { detail: /^slices/ }],
    [ask('POST', 's/state'), 405, {}],
  ]
  for (const [reply, status, body] of wrong) t.match(await reply, { status, body: { status, ...body } })
  t.same(hub.state('sessions/s', ['*']).slices.a, { n: 1 })
  t.equal(hub.find('s')?.offset, hub.state('sessions/s').offset)
})

t.test('a WebSocket sets, patches and merges, and sees the difference with its cause', async (t) => {
  const { url } = await served(t)
  const dialogue = await dial(t, url)
  t.match(await dialogue.next(), { type: 'welcome' })
  const topic = 'sessions/s'
  const answerTo = async (frame: object) => {
    dialogue.send(frame)
    for (;;) {
      const got = await dialogue.next()
      if (got === undefined || got.type === 'updated' || got.type === 'error') return got
      if (got.type === 'events') seen.push(...(got.events as { data: unknown }[]).map(({ data }) => data))
    }
  }
  const seen: unknown[] = []
  const cause = { type: 'asked', id: '1' }
  t.match(await answerTo({ type: 'set', ref: 1, topic, slice: 'a', value: { long, n: 1 }, cause }), {
    type: 'updated',
    ref: 1,
    offset: 1,
    changed: true,
  })
  dialogue.send({ type: 'subscribe', sub: 1, topic, slices: ['a'] })
  t.match(await dialogue.next(), { type: 'subscribed', offset: exact(1), slices: { a: { long, n: 1 } } })
  const patch = [{ op: 'replace', path: '/n', value: 2 }]
  t.match(await answerTo({ type: 'patch', ref: 2, topic, slice: 'a', patch, cause }), {
    ref: 2,
    changed: true,
  })
  t.match(await answerTo({ type: 'merge', ref: 3, topic, slice: 'a', merge: { n: 3 } }), {
    ref: 3,
    offset: exact(3),
  })
  t.match(
    await answerTo({ type: 'patch', ref: 4, topic, slice: 'a', patch: [{ op: 'remove', path: '/z' }] }),
    {
      type: 'error',
      ref: 4,
      code: 'conflict',
      message: /operation 0/,
    },
  )
  t.match(await answerTo({ type: 'set', ref: 5, topic: 'hub', slice: 'sessions', value: 1 }), {
    type: 'error',
    ref: 5,
  })
  t.match(await answerTo({ type: 'set', ref: 6, topic, slice: 'last', value: 1 }), { ref: 6 })
  t.match(seen, [
    { slice: 'a', base: 1, patch, cause },
    { slice: 'a', base: exact(2), patch: [{ op: 'replace', path: '/n', value: 3 }] },
  ])
})

t.test('over SSE the snapshot comes as state.initial, and the changes as events', async (t) => {
  const { hub, url } = await served(t)
  hub.session('s').setState('a', { long, n: 1 })
  const stream = await openStream(t, `${url}/api/sessions/s/events?slices=a`)
  const initial = await stream.until(({ event }) => event === 'state.initial')
  t.match(JSON.parse(initial.data ?? ''), { type: 'state.initial', data: { slices: { a: { long, n: 1 } } } })
  await stream.until(({ event }) => event === 'hub.live')
  hub.session('s').setState('a', { long, n: 2 }, { type: 'asked' })
  const update = await stream.until(({ event }) => event === 'state.update')
  t.match(JSON.parse(update.data ?? ''), {
    offset: exact(2),
    topic: 'sessions/s',
    data: { slice: 'a', base: 1, patch: [{ op: 'replace', path: '/n', value: 2 }], cause: { type: 'asked' } },
  })
})

t.test('the metrics count comparisons, updates by form and bytes', async (t) => {
  const { hub, url } = await served(t)
  hub.session('s').setState('a', { long, n: 1 })
  hub.session('s').setState('a', { long, n: 2 })
  hub.session('s').setState('a', { n: 2, long })
  hub.session('s').removeState('a')
  await hub.settled()
  const text = await (await fetch(`${url}/metrics`)).text()
  t.match(text, /^runcast_state_comparisons_total 3$/m)
  for (const form of ['patch', 'value', 'removed']) {
    t.match(text, new RegExp(`^runcast_state_updates_total\\{form="${form}"\\} 1$`, 'm'))
  }
  t.match(text, new RegExp(`^runcast_state_value_bytes_total ${JSON.stringify({ long, n: 1 }).length}$`, 'm'))
  t.match(text, /^runcast_state_patch_bytes_total [1-9]\d$/m)
})

t.test('a large state is told slice by slice, and has a bound', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { stateBytesMax: 1_000_000 } } })
  const text = 'x'.repeat(100_000)
  const slices = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`s${at}`, { at, text }]))
  for (const [slice, value] of Object.entries(slices)) hub.setState('sessions/s', slice, value)
  await hub.settled()
  const { offset } = hub.state('sessions/s')
  t.same(await (await fetch(`${url}/api/sessions/s/state?slices=s*`)).json(), {
    epoch: hub.find('s')?.epoch,
    offset,
    slices,
  })
  t.same(await (await fetch(`${url}/api/sessions/s/state?slices=none`)).json(), {
    epoch: hub.find('s')?.epoch,
    offset,
    slices: {},
  })
  for (let worker = 0; worker < 2; worker += 1)
    hub.setState(`sessions/s/workers/w${worker}`, 'big', text.repeat(9))
  t.equal((await fetch(`${url}/api/sessions/s/state?all`)).status, 413, 'of all topics no more than of one')
  t.equal((await fetch(`${url}/api/sessions/s/state?all&slices=s1`)).status, 200)
})
