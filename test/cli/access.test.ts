import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import t, { type Test } from 'tap'
import { buildCommandLine, type Running } from './command-line.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const folder = mkdtempSync(join(tmpdir(), 'runcast-access-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const key = join(folder, 'runcast.key')

async function serve(t: Test, ...words: string[]): Promise<{ url: string; running: Running }> {
  const running = commandLine.start([
    'serve',
    '--port',
    '0',
    '--store',
    'memory',
    '--log-level',
    'debug',
    ...words,
  ])
  t.teardown(() => running.process.kill('SIGKILL'))
  await running.says('Ctrl-C ends the hub')
  return { url: /https?:\/\/[\d.]+:\d+/.exec(running.output())?.[0] ?? '', running }
}

async function token(...words: string[]): Promise<string> {
  const { stdout, stderr, code } = await commandLine.run(['token', ...words])
  if (code !== 0) throw new Error(stderr)
  return stdout.trim()
}

t.test('a key is made once, and the refusal to serve without one says how', async (t) => {
  const refused = await commandLine.run(['serve', '--host', '0.0.0.0', '--store', 'memory'])
  t.equal(refused.code, 1)
  const [make] = /runcast token --new-key \S+/.exec(refused.stderr) ?? []
  t.equal(make, 'runcast token --new-key runcast.key')
  t.match(refused.stderr, 'serve --host 0.0.0.0 --token-secret-file runcast.key')
  const made = await commandLine.run(['token', '--new-key', key])
  t.equal(made.stdout, `${key}\n`)
  t.equal(statSync(key).mode & 0o777, 0o600)
  t.match(readFileSync(key, 'utf8'), /^[\w-]{43}\n$/)
  const again = await commandLine.run(['token', '--new-key', key])
  t.match([again.code, again.stderr], [1, /is not overwritten/])
})

t.test('a token that no request can carry is refused before anything is asked', async (t) => {
  for (const words of [
    ['tail', 'sessions/s'],
    ['publish', 'sessions/s', '--type', 'a'],
    ['run', '--', 'true'],
  ]) {
    const [command = '', ...others] = words
    const { code, stderr } = await commandLine.run([command, '--token', '“a.b.c”', ...others])
    t.match([code, stderr], [2, /--token or RUNCAST_TOKEN: expected a JWT/], command)
    t.notMatch(stderr, 'a.b.c')
  }
})

t.test('tokens say what the command line says', async (t) => {
  const made = await token(
    '--secret-file',
    key,
    '--subscribe',
    'sessions/a/**',
    '--subscribe',
    'hub',
    '--publish',
    '**',
    '--ttl',
    '15m',
    '--subject',
    'ci',
    '--audience',
    'x',
    '--issuer',
    'y',
    '--kid',
    'k',
  )
  t.same(decodeProtectedHeader(made), { alg: 'HS256', typ: 'JWT', kid: 'k' })
  const claims = decodeJwt(made)
  t.match(claims, { subscribe: ['sessions/a/**', 'hub'], publish: ['**'], sub: 'ci', aud: ['x'], iss: 'y' })
  t.equal(Number(claims.exp) - Number(claims.iat), 900)
  t.match(claims.jti, /^[\w-]{16}$/, 'it can be revoked')
  t.equal(decodeJwt(await token('--secret-file', key, '--publish', '**', '--id', 'mine')).jti, 'mine')
  t.notOk('exp' in decodeJwt(await token('--secret-file', key, '--publish', '**', '--ttl', 'never')))
  const cases: readonly [words: string[], code: number, said: string][] = [
    [['--secret-file', key], 2, 'add --subscribe, --publish or --command'],
    [['--subscribe', '**'], 2, 'token --new-key runcast.key'],
    [['--subscribe', '**', '--secret-file', key, '--key', key], 2, 'expected one of'],
    [['--subscribe', 'rooms/1', '--secret-file', key], 2, 'expected hub or sessions/{id}'],
    [['--subscribe', '**', '--secret-file', key, '--ttl', '1w'], 2, 'expected a time like'],
    [['--subscribe', '**', '--secret-file', join(folder, 'none')], 1, 'cannot be read'],
    [['--subscribe', '**', '--key', key], 1, 'expected a private key as PEM or JWK'],
    [['--subscribe', '**', '--secret-env', 'RUNCAST_NONE'], 2, 'RUNCAST_NONE is empty'],
  ]
  for (const [words, code, said] of cases) {
    const { stderr, ...ended } = await commandLine.run(['token', ...words])
    t.match({ ...ended, stderr }, { code, stderr: said, stdout: '' }, words.join(' '))
  }
})

t.test('commands use the token that they are given, and no log has it', async (t) => {
  const { url, running } = await serve(t, '--token-secret-file', key)
  t.match(running.output(), `runcast token --secret-file ${key} --subscribe`)
  const all = await token('--secret-file', key, '--subscribe', 'sessions/a/**', '--publish', 'sessions/a/**')
  const env = { RUNCAST_TOKEN: all }
  const hub = ['--hub', url]
  const ran = await commandLine.run(['run', ...hub, '--session', 'a', '--', 'echo', 'hello'], env)
  t.match(ran, { code: 0, stdout: /hello/ })
  const tailed = await commandLine.run(['tail', ...hub, 'a', '--replay', 'all', '--token', all])
  t.match(tailed, { code: 0, stdout: /hello/ })
  t.match(await commandLine.run(['tail', ...hub, 'a']), { code: 76, stderr: /--token or RUNCAST_TOKEN/ })
  t.match(await commandLine.run(['tail', ...hub, 'b'], env), {
    code: 76,
    stderr: /does not permit reading sessions\/b/,
  })
  const stranger = commandLine.start(['publish', ...hub, '--session', 'b'], env)
  stranger.process.stdin.end('{"type":"start"}\n')
  t.match(await stranger.finished, { code: 76, stderr: /does not permit publishing to sessions\/b/ })
  const worker = await token('--secret-file', key, '--publish', 'sessions/c/workers/w')
  const published = commandLine.start([
    'publish',
    ...hub,
    '--session',
    'c',
    '--worker',
    'w',
    '--token',
    worker,
  ])
  published.process.stdin.end('{"type":"start"}\n')
  t.match(await published.finished, { code: 0 }, 'a token for one worker is enough to publish to it')

  const refused = await commandLine.run(['run', ...hub, '--session', 'b', '--', 'echo', 'ran'], env)
  t.match(refused, { code: 76, stderr: /may not publish to echo of session b/ })
  t.notMatch(refused.stdout, 'ran', 'before anything is started')

  const answer = await fetch(`${url}/api/ticket?token=${all}`, { method: 'POST' })
  const { ticket } = (await answer.json()) as { ticket: string }
  for (const query of [`token=${all}`, `ticket=${ticket}`, `token=${all}x`, 'ticket=none']) {
    await (await fetch(`${url}/api/sessions/a/events?replay=all&${query}`)).text()
  }
  await running.says('connection closed')
  running.process.kill('SIGTERM')
  const { stdout, stderr, code } = await running.finished
  t.equal(code, 0)
  const secrets = [all, worker, all.split('.')[2] ?? '', ticket, readFileSync(key, 'utf8').trim()]
  t.ok(stderr.includes('connection opened'), 'the log was there')
  for (const one of secrets) t.notOk((stdout + stderr).includes(one), 'no log has it')
  t.notMatch((await commandLine.run(['tail', '--help'], env)).stdout, all, 'nor does the help')
  for (const command of ['token', 'attach']) {
    const { stdout: help } = await commandLine.run([command, '--help'], env)
    t.match(help, /\(default:\s+1h\)/, `${command} --help says a default as one would type it`)
  }
})

t.test('serves with a key pair, TLS and a config file', async (t) => {
  const [cert, tlsKey, pair, open] = ['cert.pem', 'tls.pem', 'pair.pem', 'open.pem'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string]
  try {
    const curve = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
    ]
    execFileSync(
      'openssl',
      ['req', '-x509', '-nodes', ...curve, '-days', '1', '-keyout', tlsKey, '-out', cert],
      { stdio: 'ignore' },
    )
    execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', pair], { stdio: 'ignore' })
    execFileSync('openssl', ['pkey', '-in', pair, '-pubout', '-out', open], { stdio: 'ignore' })
  } catch {
    t.pass('TLS', { skip: 'no openssl here to make keys with' })
    return
  }
  const config = join(folder, 'config.json')
  writeFileSync(
    config,
    JSON.stringify({
      auth: { keyFiles: [open], audience: ['here'] },
      tls: { cert, key: tlsKey },
      origins: ['https://app.example/'],
    }),
  )
  const { url } = await serve(t, '--config', config)
  t.match(url, /^https:/)
  const env = {
    NODE_EXTRA_CA_CERTS: cert,
    RUNCAST_TOKEN: await token('--key', pair, '--subscribe', '**', '--publish', '**', '--audience', 'here'),
  }
  t.match(await commandLine.run(['run', '--hub', url, '--session', 'a', '--', 'echo', 'hello'], env), {
    code: 0,
  })
  t.match(await commandLine.run(['tail', '--hub', url, 'a', '--replay', 'all'], env), {
    code: 0,
    stdout: /hello/,
  })
  const elsewhere = await token('--key', pair, '--subscribe', '**', '--audience', 'there')
  t.match(await commandLine.run(['tail', '--hub', url, 'a', '--token', elsewhere], env), {
    code: 76,
    stderr: /another audience/,
  })

  const wrong: readonly [words: string[], said: RegExp][] = [
    [['--tls-cert', cert], /both a certificate and its key/],
    [
      ['--tls-cert', cert, '--tls-key', pair],
      /TLS with .*cert.pem and .*pair.pem: the key does not belong to the certificate/,
    ],
    [['--token-audience', 'x'], /needs a key: add/],
    [['--token-secret-file', join(folder, 'none')], /none: cannot be read/],
    [['--token-key', key], /runcast.key: expected a public key/],
    [['--origin', 'app.example'], /expected an origin like/],
    [['--allowed-host', 'https://x'], /expected a host name/],
    [['--jwks-url', 'http://keys.example/'], /expected an https URL/],
    [['--authorize-url', 'http://auth.example/'], /expected an https URL/],
    [['--authorize-header', 'cookie'], /--authorize-header has no effect without --authorize-url/],
    [['--authorize-header', 'a: b'], /expected the name of a header/],
  ]
  for (const [words, said] of wrong) {
    const { code, stderr } = await commandLine.run(['serve', '--port', '0', '--store', 'memory', ...words])
    t.ok(code === 1 || code === 2, words.join(' '))
    t.match(stderr, said)
  }
  for (const [text, said] of [
    ['{"auth":{"keys":[]}}', /auth.keys: expected nothing but/],
    ['{"auth":{"keyFiles":"x"}}', /auth.keyFiles: expected a list/],
    ['{"origins":["app.example"]}', /origins: expected a list like/],
    ['{"tls":{"cert":"x"}}', /tls.key: expected a text/],
    ['{"authorize":{"headers":["cookie"]}}', /authorize.url: expected a text/],
    [
      '{"authorize":{"url":"http://127.0.0.1/","headers":"cookie"}}',
      /authorize.headers: expected a list like/,
    ],
    ['{"hosts":[]}', /hosts: expected nothing but/],
  ] as const) {
    writeFileSync(config, text)
    const { code, stderr } = await commandLine.run([
      'serve',
      '--port',
      '0',
      '--store',
      'memory',
      '--config',
      config,
    ])
    t.match([code, stderr], [1, said])
  }
  t.ok(existsSync(key))
})

t.test(
  'another server says who may do what, as the command line or the config file has it asked',
  async (t) => {
    const asked: unknown[] = []
    const application = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const question = JSON.parse(Buffer.concat(chunks).toString()) as { headers: Record<string, string> }
        asked.push(question)
        if (question.headers['cookie'] === 'user=ann') response.end('{"subscribe":["sessions/**"]}')
        else response.writeHead(401).end()
      })
    })
    await new Promise<void>((resolve) => void application.listen(0, '127.0.0.1', resolve))
    t.teardown(() => void application.close())
    const url = `http://127.0.0.1:${(application.address() as AddressInfo).port}/may`
    const config = join(folder, 'authorize.json')
    writeFileSync(config, JSON.stringify({ authorize: { url, headers: ['cookie', 'x-team'] } }))
    for (const words of [
      ['--authorize-url', url, '--authorize-header', 'Cookie', '--authorize-header', 'x-team'],
      ['--config', config],
    ]) {
      asked.length = 0
      const hub = await serve(t, '--host', '0.0.0.0', ...words)
      const ask = (headers: Record<string, string>) =>
        fetch(`${hub.url.replace('0.0.0.0', '127.0.0.1')}/api/sessions`, { headers })
      t.equal((await ask({ cookie: 'user=ann', 'x-team': 'red', 'x-other': '1' })).status, 200)
      t.equal((await ask({})).status, 401)
      t.same(asked, [
        {
          method: 'GET',
          path: '/api/sessions',
          headers: { cookie: 'user=ann', 'x-team': 'red' },
          address: '127.0.0.1',
        },
        { method: 'GET', path: '/api/sessions', headers: {}, address: '127.0.0.1' },
      ])
    }
  },
)
