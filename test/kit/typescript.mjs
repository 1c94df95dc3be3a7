/**
 * `--import` of this file runs our TypeScript. A file of tests is loaded in a half of the time that tsx takes, which looks
 * into each module of each package.
 */
import { register } from 'node:module'

process.setSourceMapsEnabled(true)
// Node 26 warns of it, and tests read what a process writes. What replaces it (`registerHooks`) is sound from 24.13 on.
const { noDeprecation } = process
process.noDeprecation = true
register('./typescript-hooks.mjs', import.meta.url)
process.noDeprecation = noDeprecation
