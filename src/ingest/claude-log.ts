import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import { Messages, turnOf } from './anthropic.js'
import {
  custom,
  runCancelled,
  runCompleted,
  runFailed,
  runStarted,
  type Turn,
  turnComplete,
} from './events.js'
import { contentText, cutShort, listOf, objectOf, textOf, timed, unlike, wordOf, workerId } from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'

const types = new Set([
  'user',
  'assistant',
  'system',
  'summary',
  'file-history-snapshot',
  'queue-operation',
  'progress',
])

/** The log that Claude Code writes of each session, in `~/.claude/projects/`. */
export const claudeLog: IngestKind = {
  name: 'claude-log',
  recognizes: ({ type, sessionId: session, message }) =>
    typeof session === 'string' && types.has(wordOf(type)) && (message === undefined || isObject(message)),
  start: () => new ClaudeLogIngest(),
}

/** The stop reasons of the last message of a turn. */
const last = new Set(['end_turn', 'stop_sequence', 'max_tokens', 'refusal'])
const interrupted = '[Request interrupted by user'

/** The agent of the session, or one of its sub-agents. */
class Agent {
  readonly worker: string | undefined
  readonly messages: Messages
  isRunning = false
  /** The message that is being written, one block a line, and its usage. */
  message: string | undefined
  turn: Turn | undefined

  constructor(worker: string | undefined, kept: Keeping) {
    this.worker = worker
    this.messages = new Messages(kept)
  }
}

class ClaudeLogIngest implements Ingest {
  readonly kept = new Keeping()
  readonly #agents = this.kept.map<string | undefined, Agent>()

  take(value: JsonObject): readonly Ingested[] {
    const { type } = value
    if (typeof type !== 'string') throw unlike('claude-log', 'an object with a type and a sessionId', value)
    const agent = this.#agentOf(value)
    const events = this.#eventsOf(agent, value)
    return events.map((event) => {
      const { worker } = agent
      return { event: timed(event, value['timestamp']), ...(worker !== undefined && { worker }) }
    })
  }

  end(): readonly Ingested[] {
    return [...this.#agents.values()]
      .filter(({ isRunning }) => isRunning)
      .flatMap((agent) => {
        const { worker } = agent
        const events = [...turnIn(agent), runFailed(cutShort)]
        return events.map((event) => ({ event, ...(worker !== undefined && { worker }) }))
      })
  }

  #eventsOf(agent: Agent, value: JsonObject): readonly NewEvent[] {
    switch (value['type']) {
      case 'user':
        return value['isMeta'] === true ? [] : personMessage(agent, value)
      case 'assistant':
        return answered(agent, value)
      case 'system':
        return system(agent, value)
      // The program's own entries: titles, snapshots of files, queued prompts.
      default:
        return []
    }
  }

  /** Older versions log a sub-agent in the same file; newer versions give it a file of its own. */
  #agentOf({ isSidechain, agentId }: JsonObject): Agent {
    const worker =
      isSidechain === true ? workerId(`agent-${wordOf(agentId).slice(0, 8)}`.replace(/-$/, '')) : undefined
    const agent = this.#agents.get(worker) ?? new Agent(worker, this.kept)
    // The one that was silent for longest is the oldest.
    this.#agents.set(worker, agent)
    return agent
  }
}

function begin(agent: Agent, data: JsonObject): readonly NewEvent[] {
  if (agent.isRunning) return []
  agent.isRunning = true
  return [runStarted(data)]
}

function end(agent: Agent, event: NewEvent): readonly NewEvent[] {
  if (!agent.isRunning) return []
  agent.isRunning = false
  return [...turnIn(agent), event]
}

/** @returns the turn of a complete message, once */
function turnIn(agent: Agent): readonly NewEvent[] {
  const { turn } = agent
  agent.turn = undefined
  return turn === undefined ? [] : [turnComplete(turn)]
}

/** A person's message, or a tool's result. */
function personMessage(agent: Agent, value: JsonObject): readonly NewEvent[] {
  const { content } = objectOf(value['message'])
  const results = listOf(content)
    .flatMap((block) => (isObject(block) ? [block] : []))
    .filter(({ type }) => type === 'tool_result')
  const prompt = contentText(content)
  const events = results.flatMap((block) =>
    agent.messages.whole({ ...block, content: plain(block['content']) }, undefined),
  )
  if (prompt.startsWith(interrupted))
    return [...events, ...end(agent, runCancelled('interrupted by the user'))]
  if (prompt === '' || results.length > 0) return events
  if (agent.isRunning) return [...events, custom({ type: 'user', text: prompt })]
  return [...events, ...begin(agent, { prompt, ...about(value) })]
}

function about({ cwd, version, gitBranch: branch }: JsonObject): JsonObject {
  return {
    ...(typeof cwd === 'string' && { cwd }),
    ...(typeof version === 'string' && { version }),
    ...(typeof branch === 'string' && branch !== '' && { branch }),
  }
}

function answered(agent: Agent, value: JsonObject): readonly NewEvent[] {
  const message = objectOf(value['message'])
  const id = textOf(message['id'])
  const isNext = id === undefined || id !== agent.message
  const events: NewEvent[] = []
  if (isNext) events.push(...turnIn(agent), ...begin(agent, about(value)))
  agent.message = id
  const content = listOf(message['content']).flatMap((block) => (isObject(block) ? [block] : []))
  for (const block of content) events.push(...agent.messages.whole(block, id))
  const reason = textOf(message['stop_reason'])
  if (value['isApiErrorMessage'] === true) {
    return [
      ...events,
      ...end(agent, runFailed(contentText(message['content']) || 'The provider reported an error.')),
    ]
  }
  agent.turn = turnOf(textOf(message['model']), objectOf(message['usage']), reason)
  // Each line of a message may have its stop reason; the text is on the last one.
  const isLast = reason !== undefined && last.has(reason) && content.some(({ type }) => type === 'text')
  return isLast
    ? [
        ...events,
        ...end(
          agent,
          reason === 'refusal'
            ? runFailed('The model refused to answer.')
            : runCompleted({ stop_reason: reason }),
        ),
      ]
    : events
}

function system(agent: Agent, value: JsonObject): readonly NewEvent[] {
  switch (value['subtype']) {
    case 'compact_boundary':
      return [{ type: 'context_compacted', data: objectOf(value['compactMetadata']) }]
    // The agent writes it when it waits for the next prompt.
    case 'turn_duration':
      return end(agent, runCompleted())
    default:
      return []
  }
}

function plain(content: JsonValue | undefined): JsonValue {
  const blocks = listOf(content)
  const isText = blocks.length > 0 && blocks.every((block) => objectOf(block)['type'] === 'text')
  return isText ? contentText(content) : (content ?? null)
}
