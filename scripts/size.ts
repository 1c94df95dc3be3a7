/** `npm run size`: what `runcast/client` weighs in a browser, MessagePack included; fails when it is too much. */

import { brotliCompressSync } from 'node:zlib'
import { build } from 'esbuild'

/** Bytes, compressed by brotli. */
const bytesMax = 13 * 1024

const { outputFiles, metafile } = await build({
  entryPoints: ['src/client.ts'],
  bundle: true,
  minify: true,
  // The fallback to SSE is loaded where it is needed; it is shown, and counts apart.
  splitting: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  outdir: 'size',
  write: false,
  metafile: true,
  logLevel: 'error',
})

/** Files that are there before anything is done, and those that are loaded when they are needed. */
const first = new Set<string>()
function load(path: string): void {
  if (first.has(path)) return
  first.add(path)
  for (const { kind, path: imported } of metafile.outputs[path]?.imports ?? []) {
    if (kind === 'import-statement') load(imported)
  }
}
const outputs = Object.entries(metafile.outputs)
load(outputs.find(([, { entryPoint }]) => entryPoint === 'src/client.ts')?.[0] ?? '')

/** @returns the bytes of the files that are meant, compressed */
function brotli(isMeant: (path: string) => boolean): number {
  return outputFiles
    .filter(({ path }) => outputs.some(([output]) => path.endsWith(output) && isMeant(output)))
    .reduce((sum, { contents }) => sum + brotliCompressSync(contents).length, 0)
}
const bytes = brotli((path) => first.has(path))
const laterBy = (source: string) =>
  brotli((path) => metafile.outputs[path]?.entryPoint === source && !first.has(path))
const [sse, tabs] = [laterBy('src/client/dial-sse.ts'), laterBy('src/client/tabs.ts')]
const figures = `${bytes} bytes with brotli, at most ${bytesMax}; ${sse} more where WebSockets are blocked, ${tabs} more for tabs that share a connection`
if (sse === 0 || tabs === 0 || bytes > bytesMax) {
  console.error(`runcast/client: ${figures}`)
  process.exitCode = 1
} else {
  console.log(`runcast/client: ${figures}`)
}
