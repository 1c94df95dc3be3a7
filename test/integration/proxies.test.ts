import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { request } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { Hub } from '../../src/hub/hub.js'
import { freePort } from '../kit/free-port.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

// What docs/operations/ tells people to put before a hub, put before a hub.

const docs = fileURLToPath(new URL('../../docs/operations/', import.meta.url))

interface Files {
  readonly folder: string
  readonly cert: string
  readonly key: string
  readonly log: string
  /** Where the proxy is to listen, and where the hub does. */
  readonly port: string
  readonly hubPort: string
}

interface ProxyKind {
  readonly name: string
  readonly program: string
  /** @returns the words of the command line that starts it, in the foreground */
  prepare(files: Files): readonly string[]
}

/** The published file with its names and ports replaced by those of the test; each of them must be there. */
function adapted(file: string, replaced: Readonly<Record<string, string>>): string {
  let text = readFileSync(docs + file, 'utf8')
  for (const [from, to] of Object.entries(replaced)) {
    if (!text.includes(from)) throw new Error(`${file}: expected ${from} to be there`)
    text = text.replaceAll(from, to)
  }
  return text
}

const kinds: readonly ProxyKind[] = [
  {
    name: 'nginx',
    program: 'nginx',
    prepare({ folder, cert, key, log, port, hubPort }) {
      const site = adapted('nginx.conf', {
        'listen 443 ssl': `listen 127.0.0.1:${port} ssl`,
        '127.0.0.1:4600': `127.0.0.1:${hubPort}`,
        '/etc/ssl/runcast/fullchain.pem': cert,
        '/etc/ssl/runcast/privkey.pem': key,
        '/var/log/nginx/runcast.log': log,
      })
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${folder}/${name};`)
        .join('\n')
      const user = process.getuid?.() === 0 ? 'user root;' : ''
      writeFileSync(
        join(folder, 'all.conf'),
        `${user} daemon off; pid ${folder}/pid; worker_processes 1; error_log ${folder}/error.log;
        events { worker_connections 256; }
        http { ${temporary} ${site} }`,
      )
      return ['-p', folder, '-c', join(folder, 'all.conf'), '-e', join(folder, 'error.log')]
    },
  },
  {
    name: 'Caddy',
    program: 'caddy',
    prepare({ folder, cert, key, log, port, hubPort }) {
      const site = adapted('Caddyfile', {
        'runcast.example {': `https://127.0.0.1:${port} {\n\ttls ${cert} ${key}`,
        '127.0.0.1:4600': `127.0.0.1:${hubPort}`,
        '/var/log/caddy/runcast.log': log,
      })
      writeFileSync(join(folder, 'Caddyfile'), `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${site}`)
      return ['run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')]
    },
  },
  {
    name: 'HAProxy',
    program: 'haproxy',
    prepare({ folder, cert, key, port, hubPort }) {
      const both = join(folder, 'all.pem')
      writeFileSync(both, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'))
      const site = adapted('haproxy.cfg', {
        'bind :443': `bind 127.0.0.1:${port}`,
        '127.0.0.1:4600': `127.0.0.1:${hubPort}`,
        '/etc/ssl/runcast/all.pem': both,
        'maxconn 20000': 'maxconn 256',
        'log /dev/log local0': 'log stdout format raw local0',
      })
      writeFileSync(join(folder, 'haproxy.cfg'), site)
      return ['-db', '-f', join(folder, 'haproxy.cfg')]
    },
  },
]

function isThere(program: string): boolean {
  try {
    execFileSync('which', [program], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function accepts(port: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => resolve(false))
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}

/** Starts the proxy before a hub; both end with the test. */
async function behind(t: Test, kind: ProxyKind) {
  const { hub, server } = await served(t)
  const folder = mkdtempSync(join(tmpdir(), `runcast-${kind.program}-`))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
  execFileSync('openssl', ['req', '-x509', '-nodes', ...curve, ...subject, '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  })
  const log = join(folder, 'access.log')
  const port = String(await freePort())
  const home = join(folder, 'home')
  mkdirSync(home)
  const words = kind.prepare({ folder, cert, key, log, port, hubPort: String(server.port) })
  const env = { ...process.env, HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home }
  // HAProxy logs to its standard output, where the others write nothing.
  const proxy = spawn(kind.program, words, { env, stdio: ['ignore', openSync(log, 'a'), 'pipe'] })
  let said = ''
  proxy.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text))
  const ended = new Promise<void>((resolve) => proxy.on('exit', () => resolve()))
  t.teardown(async () => {
    proxy.kill('SIGTERM')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  for (let accepting = false; !accepting; accepting = await accepts(port)) {
    if (proxy.exitCode !== null) throw new Error(`${kind.program} ended: ${said}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { hub, server, port, log }
}

/** An SSE response over HTTP/1.1: what has come of it so far. */
function openOne(t: Test, port: string, path: string) {
  const stream = { text: '', status: 0, ended: false }
  const asked = request(
    { host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false },
    (answer) => {
      stream.status = answer.statusCode ?? 0
      answer.setEncoding('utf8').on('data', (text: string) => (stream.text += text))
      answer.on('end', () => (stream.ended = true))
    },
  )
  asked.on('error', () => (stream.ended = true))
  asked.end()
  t.teardown(() => asked.destroy())
  return { stream, cut: () => asked.destroy() }
}

/** The same over HTTP/2. */
function openTwo(t: Test, port: string, path: string) {
  const stream = { text: '', status: 0, ended: false }
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  const asked = session.request({ ':path': path })
  asked.on('response', (headers) => (stream.status = Number(headers[':status'])))
  asked.setEncoding('utf8').on('data', (text: string) => (stream.text += text))
  asked.on('end', () => (stream.ended = true))
  return { stream, cut: () => session.destroy() }
}

const follow = (hub: Hub) => hub.stats().connections

for (const kind of kinds) {
  t.test(`behind ${kind.name}, as the docs have it`, async (t) => {
    if (!isThere(kind.program) || !isThere('openssl')) {
      t.pass(kind.name, { skip: `no ${kind.program}, or no openssl, on this machine` })
      return
    }
    const { hub, server, port, log } = await behind(t, kind)
    for (const [version, open] of [
      ['HTTP/1.1', openOne],
      ['HTTP/2', openTwo],
    ] as const) {
      const { stream, cut } = open(t, port, '/api/sessions/s/events?token=hush')
      await until(`SSE over ${version} is live`, () => stream.text.includes('hub.live'))
      hub.publish('sessions/s', [{ type: 'note', data: version }])
      await until(`an event comes over ${version} as it is published`, () =>
        stream.text.includes(`"data":"${version}"`),
      )
      t.equal(stream.status, 200)
      cut()
      await until('the hub learns that the client has gone', () => follow(hub) === 0)
    }

    const socket = new WebSocket(`wss://127.0.0.1:${port}/api/ws`, ['runcast.v1.json', 'bearer.hush'], {
      rejectUnauthorized: false,
      origin: `https://127.0.0.1:${port}`,
    })
    t.teardown(() => socket.terminate())
    let frames = ''
    socket.on('message', (data: Buffer) => (frames += data.toString()))
    const closed = new Promise<number>((resolve) => socket.on('close', resolve))
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
    socket.send('{"type":"subscribe","sub":1,"topic":"sessions/s"}')
    await until('the WebSocket is live', () => frames.includes('"live"'))

    const lines = request({
      host: '127.0.0.1',
      port,
      path: '/api/sessions/s/events',
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      rejectUnauthorized: false,
      agent: false,
    })
    const answered = new Promise<number | undefined>((resolve) =>
      lines.on('response', (answer) => resolve(answer.resume().statusCode)),
    )
    lines.write('{"type":"first"}\n')
    await until('a line is published before the body has ended', () => frames.includes('"first"'))
    lines.end('{"type":"second"}\n')
    t.equal(await answered, 200)
    await until('and so is the next', () => frames.includes('"second"'))

    const path = '/v1/stream/runs/1'
    const put = request({
      host: '127.0.0.1',
      port,
      path,
      method: 'PUT',
      rejectUnauthorized: false,
      agent: false,
    })
    const location = new Promise<string | undefined>((resolve) =>
      put.on('response', (answer) => resolve(answer.resume().headers.location)),
    )
    put.end()
    t.equal(
      await location,
      `https://127.0.0.1:${port}${path}`,
      'a durable stream is told where its client sees it',
    )

    const { stream } = openOne(t, port, '/api/sessions/s/events')
    await until('it is live', () => stream.text.includes('hub.live'))
    await server.close()
    t.equal(await closed, 4000, 'close codes come through')
    await until('hub.close comes through', () => stream.text.includes('"code":4000') && stream.ended)
    await until('the proxy has written its log', () => readFileSync(log, 'utf8').includes('/api/ws'))
    t.notMatch(readFileSync(log, 'utf8'), /hush/, 'and no token is in it')
  })
}

t.test('behind nginx a request is one request, whatever it looks like', async (t) => {
  const [nginx] = kinds
  if (nginx === undefined || !isThere(nginx.program) || !isThere('openssl')) {
    t.pass('nginx', { skip: 'no nginx, or no openssl, on this machine' })
    return
  }
  const { hub, port } = await behind(t, nginx)
  const body = '{"type":"a"}'
  const hidden =
    'POST /api/sessions/hidden/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 12\r\n\r\n{"type":"b"}'
  const chunk = `c\r\n${body}\r\n`
  const chunked = 'Transfer-Encoding: chunked'
  const requests: readonly (readonly [name: string, fields: string, rest: string, published: boolean])[] = [
    [
      'two lengths',
      `Host: 127.0.0.1\r\nContent-Length: 12\r\nContent-Length: ${12 + hidden.length}`,
      body + hidden,
      false,
    ],
    [
      'a length and chunks',
      `Host: 127.0.0.1\r\nContent-Length: 12\r\n${chunked}`,
      `0\r\n\r\n${hidden}`,
      false,
    ],
    [
      'another coding',
      `Host: 127.0.0.1\r\nTransfer-Encoding: chunked, identity`,
      `${chunk}0\r\n\r\n${hidden}`,
      false,
    ],
    ['a line that goes on', `Host: 127.0.0.1\r\nX-A: a\r\n b\r\nContent-Length: 12`, body, false],
    ['no host', `Content-Length: 12`, body, false],
    ['extensions', `Host: 127.0.0.1\r\n${chunked}`, `c;a=b\r\n${body}\r\n0;c\r\n\r\n`, true],
    ['trailers', `Host: 127.0.0.1\r\n${chunked}`, `${chunk}0\r\nX-A: b\r\n\r\n`, true],
  ]
  for (const [name, fields, rest, published] of requests) {
    const before = hub.stats().published
    const socket = connectTls({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false })
    let text = ''
    let closed = false
    socket.setEncoding('latin1').on('data', (piece: string) => (text += piece))
    socket.on('error', () => {}).on('close', () => (closed = true))
    t.teardown(() => socket.destroy())
    socket.write(`POST /api/sessions/seen/events HTTP/1.1\r\nConnection: close\r\n${fields}\r\n\r\n${rest}`)
    await until(`${name} is answered, and the link closed`, () => closed)
    t.match(text, published ? /^HTTP\/1.1 200/ : /^HTTP\/1.1 [45]/, name)
    t.equal(text.split('HTTP/1.1 ').length, 2, 'once')
    t.equal(hub.stats().published - before, published ? 1 : 0)
    t.equal(hub.find('hidden'), undefined, 'nothing that it hides is done')
  }
})
