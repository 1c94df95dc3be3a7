import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What the page may weigh with all it can load, compressed by gzip. Bytes. */
const bytesMax = 150 * 1024

/**
 * Bundles `src/panels` into `index.html` and files whose names change with their content, each with its `.gz`.
 *
 * @returns the bytes that a browser loads, compressed
 * @throws Error when they are too many
 */
export async function buildPanels(folder: string): Promise<number> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['src/panels/main.tsx', 'src/panels/app.css'],
    entryNames: '[name]-[hash]',
    bundle: true,
    minify: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    define: { 'process.env.NODE_ENV': '"production"' },
    outdir: 'panels',
    write: false,
    metafile: true,
    logLevel: 'error',
  })
  const nameOf = (entry: string): string => {
    const output = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === entry)
    return `/panels/${basename(output?.[0] ?? '')}`
  }
  const page = (await readFile(`${root}src/panels/page.html`, 'utf8'))
    .replace('{{style}}', nameOf('src/panels/app.css'))
    .replace('{{script}}', nameOf('src/panels/main.tsx'))
  const files: [name: string, bytes: Uint8Array][] = [
    ...outputFiles.map(({ path, contents }): [string, Uint8Array] => [basename(path), contents]),
    ['index.html', Buffer.from(page)],
  ]
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  let total = 0
  for (const [name, bytes] of files) {
    const compressed = gzipSync(bytes, { level: 9 })
    total += compressed.length
    await writeFile(`${folder}/${name}`, bytes)
    await writeFile(`${folder}/${name}.gz`, compressed)
  }
  if (total > bytesMax) throw new Error(`the panels page weighs ${total} bytes, at most ${bytesMax}`)
  return total
}
