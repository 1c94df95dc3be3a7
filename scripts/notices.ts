import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Metafile } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** @returns the packages of others that a bundle has parts of, as paths from the root, sorted */
function packagesIn({ outputs }: Metafile): string[] {
  const inputs = Object.values(outputs).flatMap((output) => Object.keys(output.inputs))
  const folders = inputs.map((path) => /^(?:.+\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [])
  return [...new Set(folders.flat())].toSorted()
}

/**
 * What must go with a bundle: name, version and licence of every package of others that is in it.
 *
 * @throws Error when such a package has no text of its licence
 */
export function noticesOf(bundle: Metafile): string {
  const notices = packagesIn(bundle).map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    ) as {
      readonly name: string
      readonly version: string
      readonly license: string
    }
    const file = readdirSync(join(root, folder)).find((path) => /^licen[cs]e(\.\w+)?$/i.test(path))
    if (file === undefined) throw new Error(`${folder} has no file with its licence`)
    const text = readFileSync(join(root, folder, file), 'utf8').trim()
    return `${name} ${version} (${license})\n\n${text}\n`
  })
  return `The files beside this one contain parts of these packages.\n\n${notices.join(`\n${'-'.repeat(72)}\n\n`)}`
}
