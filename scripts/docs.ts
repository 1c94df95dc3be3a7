/** Writes the tables and plots that the docs take from the source and from the results of the benchmarks, and the client's types of events. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { catalogTypes, catalogTypesPath } from './catalog.js'
import { plots, readResults } from './plots.js'
import { pages, withTables } from './tables.js'

const place = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))

writeFileSync(place(catalogTypesPath), catalogTypes())
for (const page of pages) writeFileSync(place(page), withTables(readFileSync(place(page), 'utf8')))
for (const [path, text] of Object.entries(plots(readResults()))) writeFileSync(place(path), text)
