// What Node asks for each import, on a thread of its own (`module.register`).
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = new URL('../../', import.meta.url).href
const cache = new URL('node_modules/.cache/runcast-tests/', root).href
const ours = (url) => url.startsWith(root) && !url.includes('/node_modules/')

/** `./name.js` is `./name.ts` or `./name.tsx`, as for the compiler. */
export async function resolve(specifier, context, next) {
  if (specifier.startsWith('.') && specifier.endsWith('.js') && ours(context.parentURL ?? '')) {
    const { href } = new URL(specifier, context.parentURL)
    for (const end of ['.ts', '.tsx']) {
      const url = href.slice(0, -3) + end
      if (existsSync(new URL(url))) return { url, format: 'module', shortCircuit: true }
    }
  }
  return next(specifier, context)
}

export async function load(url, context, next) {
  const file = url.split('?', 1)[0]
  if (!/\.tsx?$/.test(file) || !ours(file)) return next(url, context)
  return { format: 'module', source: await compiled(file), shortCircuit: true }
}

/** Is kept for all processes until the file is changed. */
async function compiled(file) {
  const kept = new URL(`${file.slice(root.length)}.js`, cache)
  const made = statSync(kept, { throwIfNoEntry: false })
  if (made !== undefined && made.mtimeMs > statSync(new URL(file)).mtimeMs) return readFileSync(kept)
  const { transform } = await import('esbuild')
  const { code } = await transform(readFileSync(new URL(file), 'utf8'), {
    loader: file.endsWith('x') ? 'tsx' : 'ts',
    jsx: 'automatic',
    target: 'es2023',
    sourcemap: 'inline',
    sourcesContent: false,
    sourcefile: fileURLToPath(file),
  })
  mkdirSync(new URL('./', kept), { recursive: true })
  // Others may read it at this moment.
  const fresh = new URL(`${kept.href}.${randomUUID()}`)
  writeFileSync(fresh, code)
  renameSync(fresh, kept)
  return code
}
