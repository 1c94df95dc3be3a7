import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ProtocolError } from '../../protocol/codes.js'
import type { Answer } from '../../transport/transport.js'
import type { Call, Route } from './routes.js'

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
}

/** Allows only the hub's own files, no inline code, and no text that could become markup. */
const pageHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
}

interface File {
  readonly plain: Uint8Array
  readonly gzip: Uint8Array | undefined
}

/**
 * The panels page: `/`, `/s/{session}`, and the files it loads, by addresses relative to its own: they work under any path. And
 * `/client.js`, the client for pages without a build. Nothing in them is of any session. They are read once, with the first request.
 */
export function panelRoutes(): Route[] {
  let read: Promise<ReadonlyMap<string, File>> | undefined
  const answer = async (name: string, headers: Readonly<Record<string, string>>, { request }: Call) => {
    read ??= readFiles()
    const files = await read
    const file = files.get(name)
    if (file === undefined) {
      // The next request finds a page that was built while the hub runs.
      if (files.size === 0) read = undefined
      throw new ProtocolError(
        'notFound',
        files.size === 0 ? 'The panels page is not built: npm run build.' : 'There is no such file.',
      )
    }
    return answerOf(name, file, headers, request.headers)
  }
  const page = (name: string) => (call: Call) => answer(name, pageHeaders, call)
  return [
    { method: 'GET', path: '/', access: { kind: 'open' }, answer: page('index.html') },
    { method: 'GET', path: '/s/{session}', access: { kind: 'open' }, answer: page('session.html') },
    {
      method: 'GET',
      path: '/client.js',
      access: { kind: 'open' },
      // A page that the hub refuses can load it, and is told so by it.
      anyOrigin: true,
      answer: (call) =>
        answer('client.js', { 'cache-control': 'no-cache', 'access-control-allow-origin': '*' }, call),
    },
    {
      method: 'GET',
      path: '/panels/{file}',
      access: { kind: 'open' },
      // The page requests its scripts with an origin, which differs from `Host` behind some proxies.
      anyOrigin: true,
      // The names change with the content.
      answer: (call) =>
        answer(
          call.use(({ param }) => param('file')),
          { 'cache-control': 'public, max-age=31536000, immutable' },
          call,
        ),
    },
  ]
}

function answerOf(
  name: string,
  { plain, gzip }: File,
  headers: Readonly<Record<string, string>>,
  requestHeaders: ReadonlyMap<string, string>,
): Answer {
  const compressed = /\bgzip\b/.test(requestHeaders.get('accept-encoding') ?? '') ? gzip : undefined
  return {
    status: 200,
    headers: {
      'content-type': types[extname(name)] ?? 'application/octet-stream',
      vary: 'accept-encoding',
      ...(compressed && { 'content-encoding': 'gzip' }),
      ...headers,
    },
    body: compressed ?? plain,
  }
}

/** Next to the compiled server, or next to the folder of a bundled one; when run from source, in the output of the build. */
async function readFiles(): Promise<ReadonlyMap<string, File>> {
  const folder = ['../../panels/', '../panels/', '../../../dist/panels/']
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(`${path}index.html`))
  const files = new Map<string, File>()
  if (folder === undefined) return files
  const names = new Set(await readdir(folder))
  for (const name of names) {
    if (types[extname(name)] === undefined) continue
    const gzip = names.has(`${name}.gz`) ? await readFile(`${folder}${name}.gz`) : undefined
    files.set(name, { plain: await readFile(folder + name), gzip })
  }
  return files
}
