/** Writes the tables that the docs take from the source. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { pages, withTables } from './tables.js'

for (const page of pages) {
  const file = fileURLToPath(new URL(`../${page}`, import.meta.url))
  writeFileSync(file, withTables(readFileSync(file, 'utf8')))
}
