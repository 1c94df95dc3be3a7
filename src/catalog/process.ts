import { type Section, traits } from './section.js'

/** Events of `runcast run` about the commands that it starts. */
export const processSection: Section = {
  'process.started': traits({ critical: true, replay: 'all', status: 'running' }),
  'process.output': traits({ level: 'delta', replay: 'all', merge: { text: 'text' } }),
  'process.paused': traits({ level: 'control', critical: true, replay: 'all', status: 'paused' }),
  'process.resumed': traits({ level: 'control', critical: true, replay: 'all', status: 'running' }),
  'process.exited': traits({ critical: true, replay: 'all', rollup: true, status: 'ended', ends: 'byExit' }),
}
