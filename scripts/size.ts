/** `npm run size`: what `runcast/client` weighs in a browser, MessagePack included; fails when it is too much. */

import { brotliCompressSync } from 'node:zlib'
import { build } from 'esbuild'

/** Bytes, compressed by brotli. */
const bytesMax = 12 * 1024

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

const sizes = outputFiles.map(({ path, contents }) => {
  const output = Object.entries(metafile.outputs).find(([name]) => path.endsWith(name))?.[1]
  const later = output?.entryPoint?.endsWith('dial-sse.ts') ?? false
  return { later, contents }
})
const brotli = (later: boolean) =>
  sizes.reduce((sum, size) => sum + (size.later === later ? brotliCompressSync(size.contents).length : 0), 0)
const figures = `${brotli(false)} bytes with brotli, at most ${bytesMax}; ${brotli(true)} more where WebSockets are blocked`
if (brotli(true) === 0 || brotli(false) > bytesMax) {
  console.error(`runcast/client: ${figures}`)
  process.exitCode = 1
} else {
  console.log(`runcast/client: ${figures}`)
}
