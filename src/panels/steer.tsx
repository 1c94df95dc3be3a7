import { useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { durationText } from './format.js'
import { type Fields, fieldsOf, type Json } from './model.js'
import { numberOf, type Standing } from './standing.js'

/** The commands that a person can send to the producer, with their explanations. */
const actions = [
  {
    name: 'cancel',
    word: 'Stop',
    does: 'Asks the agent to stop; a command under `runcast run` is interrupted',
  },
  { name: 'pause', word: 'Halt', does: 'Asks the agent to pause until it is told to go on' },
  { name: 'resume', word: 'Go on', does: 'Asks the agent to go on after a halt' },
] as const

/** Buttons that send commands to a topic, and the receipts of the newest commands. */
export function Steer({
  client,
  topic,
  name,
  standing,
  commands,
  now,
}: {
  readonly client: Client
  readonly topic: string
  readonly name: string
  readonly standing: Standing
  /** The slice `$commands` of the topic. */
  readonly commands: Fields
  readonly now: number
}) {
  const [refused, refuse] = useState<string>()
  const send = async (command: string) => {
    refuse(undefined)
    try {
      await client.command(topic, command, {}, { timeoutMs: 10_000 })
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error))
    }
  }
  const runs = ['asks', 'stalled', 'running', 'paused'].includes(standing)
  const newest = Object.entries(commands)
    .map(([offset, about]) => ({ offset: Number(offset), about: fieldsOf(about) }))
    .toSorted((one, other) => other.offset - one.offset)
    .slice(0, 3)
  if (!runs && newest.length === 0) return null
  return (
    <div class="steer" role="group" aria-label={`Commands to ${name}`}>
      {runs &&
        actions.map(({ name: command, word, does }) => (
          <button type="button" key={command} title={does} onClick={() => void send(command)}>
            {word}
          </button>
        ))}
      <span class="receipts" role="status">
        {refused !== undefined && <span class="refusal">{refused}</span>}
        {newest.map(({ offset, about }) => (
          <span key={offset} class={`receipt ${wordOf(about['state'])}`} title={titleOf(about)}>
            {wordOf(about['type']).replace('command.', '')}: {wordOf(about['state'])}
            {numberOf(about['doneAt']) === 0 &&
              ` for ${durationText(now - numberOf(about['time']), 'coarse')}`}
          </span>
        ))}
      </span>
    </div>
  )
}

function titleOf({ text, reason }: Fields): string {
  return [text, reason].filter((each) => typeof each === 'string').join(' · ')
}

function wordOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : ''
}
