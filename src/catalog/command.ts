import { type Section, traits } from './section.js'

const command = traits({ level: 'control', critical: true, command: 'request' })

/** Commands of watchers to an agent, and its receipts. */
export const commandSection: Section = {
  'command.cancel': command,
  'command.pause': command,
  'command.resume': command,
  'command.input': traits({
    level: 'control',
    critical: true,
    command: 'request',
    key: 'key',
    answers: 'any',
  }),
  'command.done': traits({ level: 'control', critical: true, command: 'receipt' }),
}
