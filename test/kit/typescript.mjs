/**
 * `--import` of this file runs our TypeScript. A file of tests is loaded in a half of the time that tsx takes, which looks
 * into each module of each package.
 */
import { register } from 'node:module'

process.setSourceMapsEnabled(true)
register('./typescript-hooks.mjs', import.meta.url)
