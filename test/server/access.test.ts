import t, { type Test } from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { Context } from '../../src/server/context.js'
import type { Route } from '../../src/server/routes.js'
import { routesOf } from '../../src/server/serve.js'
import { openStream, type Served, served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'

/** Routes as they are, without a server. */
function routes(): readonly Route[] {
  const hub = createHub()
  const { limits, clock } = hub
  return routesOf({
    hub,
    limits,
    clock,
    links: { count: () => 0 },
    closing: () => false,
  } as unknown as Context)
}

const locked = { auth: { secrets: [secret] } }

/** A hub with the session `s` and its worker `w`, in whose answers `s-only` stands. */
async function withSession(t: Test): Promise<Served> {
  const it = await served(t, { serve: locked })
  const session = it.hub.session('s')
  session.publish({ type: 'start', data: 's-only' })
  session.setState('plan', 's-only')
  session.worker('w').publish({ type: 'start', data: 's-only' })
  session.worker('w').setState('plan', 's-only')
  return it
}

interface Asked {
  readonly status: number
  readonly body: string
}

async function ask(
  url: string,
  { method, path }: Route,
  connection: string,
  token: string | undefined,
): Promise<Asked> {
  const filled = path
    .replace('{session}', 's')
    .replace('{worker}', 'w')
    .replace('{slice}', 'plan')
    .replace('{connection}', connection)
    .replaceAll(/\{\w+\}/g, 's')
  const response = await fetch(`${url}${filled}?topic=sessions/s&session=s`, {
    method,
    headers: {
      'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    ...(method === 'GET' || method === 'DELETE'
      ? {}
      : {
          body: path.includes('stream')
            ? '{"type":"subscribe","sub":2,"topic":"sessions/s/**"}'
            : '{"type":"start"}',
        }),
    signal: AbortSignal.timeout(5_000),
  })
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const body = isStream ? '' : await response.text()
  if (isStream) await response.body?.cancel()
  return { status: response.status, body }
}

t.test(
  'every route wants a token: none, a wrong one, an old one and one of another session get no further',
  async (t) => {
    const { url, hub } = await withSession(t)
    const owner = await mint({ sub: 'owner', subscribe: ['**'], publish: ['**'] })
    const stream = await openStream(t, `${url}/api/stream`, { authorization: `Bearer ${owner}` })
    const opened = await stream.until(({ event }) => event === 'hub.open')
    const { connection } = JSON.parse(opened.data ?? '')
    const tokens: readonly [name: string, status: number, token: string | undefined][] = [
      ['none', 401, undefined],
      ['garbage', 401, 'x.y.z'],
      ['a wrong signature', 401, `${owner.slice(0, -4)}AAAA`],
      ['expired', 401, await mint({ subscribe: ['**'], publish: ['**'], exp: 1_000 })],
      [
        'of another session',
        403,
        await mint({ subscribe: ['sessions/other/**'], publish: ['sessions/other/**'] }),
      ],
      ['of nothing', 403, await mint({})],
    ]
    let wanted = 0
    for (const route of routes()) {
      const about = `${route.method} ${route.path}`
      if (route.access.kind === 'open') {
        const { status } = await ask(url, route, connection, undefined)
        t.ok(status !== 401 && status !== 403, `${about} is open`)
        continue
      }
      wanted++
      for (const [name, expected, token] of tokens) {
        const { status, body } = await ask(url, route, connection, token)
        // What any token may ask has no more in it than the token allows.
        const lists = route.access.kind === 'any' && status === 200 && !/"s"|s-only/.test(body)
        t.ok(status === expected || (expected === 403 && lists), `${about}, ${name}: ${status} ${body}`)
        t.notMatch(body, 's-only')
      }
    }
    t.ok(wanted > 15, `${wanted} routes want a token`)
    t.same(
      routes()
        .filter(({ access }) => access.kind === 'open')
        .map(({ path }) => path),
      ['/healthz', '/readyz', '/', '/s/{session}', '/panels/{file}'],
    )
    t.match(hub.find('s'), { status: 'running', offset: 4 }, 'nothing has changed')
    for (const route of routes().toSorted(
      (one, other) => Number(one.method === 'DELETE') - Number(other.method === 'DELETE'),
    )) {
      const { status } = await ask(url, route, connection, owner)
      t.ok(status !== 401 && status !== 403, `${route.method} ${route.path} with the right token: ${status}`)
    }
    stream.close()
  },
)
