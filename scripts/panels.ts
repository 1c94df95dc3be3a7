import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build, type Metafile } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What the page may weigh with all it can load, compressed by gzip. Bytes. */
const bytesMax = 150 * 1024

/**
 * Bundles `src/panels` into `index.html`, `session.html`, whose address is one segment longer, and files whose names change with
 * their content, and `src/client.ts` into `client.js`; each with its `.gz`.
 *
 * @returns what esbuild tells of the bundles
 * @throws Error when a browser would load more than `bytesMax`
 */
export async function buildPanels(folder: string): Promise<Metafile> {
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
    return `panels/${basename(output?.[0] ?? '')}`
  }
  const client = await buildClient()
  const page = (await readFile(`${root}src/panels/page.html`, 'utf8'))
    .replace('{{style}}', nameOf('src/panels/app.css'))
    .replace('{{script}}', nameOf('src/panels/main.tsx'))
  const plain: [name: string, bytes: Uint8Array][] = [
    ...outputFiles.map(({ path, contents }): [string, Uint8Array] => [basename(path), contents]),
    ['index.html', Buffer.from(page.replaceAll('{{base}}', ''))],
    ['session.html', Buffer.from(page.replaceAll('{{base}}', '../'))],
  ]
  const compressed = plain.map(([name, bytes]) => [`${name}.gz`, gzipSync(bytes, { level: 9 })] as const)
  const files = new Map<string, Uint8Array>([...plain, ...compressed])
  const total = compressed.reduce((sum, [, { length }]) => sum + length, 0)
  files.set('client.js', client.bytes).set('client.js.gz', gzipSync(client.bytes, { level: 9 }))
  if (total > bytesMax) throw new Error(`the panels page weighs ${total} bytes, at most ${bytesMax}`)
  await mkdir(folder, { recursive: true })
  for (const [name, bytes] of files) await writeFile(`${folder}/${name}`, bytes)
  // What is no longer of the page goes last: a hub may be serving the folder.
  for (const name of await readdir(folder)) if (!files.has(name)) await rm(`${folder}/${name}`)
  return { inputs: {}, outputs: { ...metafile.outputs, ...client.metafile.outputs } }
}

/** Bundles `runcast/client` into one file, for pages without a build of their own. */
async function buildClient(): Promise<{ readonly bytes: Uint8Array; readonly metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['src/client.ts'],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'error',
  })
  return { bytes: outputFiles[0]?.contents ?? new Uint8Array(), metafile }
}
