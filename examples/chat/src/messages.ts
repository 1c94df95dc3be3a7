import type { ChatEvent } from './hub.ts'

export interface Message {
  readonly key: string
  readonly by: string
  readonly text: string
}

/** Puts the pieces of each answer together. The agent names the answer in every piece, so answers may overlap. */
export function messagesOf(events: readonly ChatEvent[]): Message[] {
  const messages = new Map<string, Message>()
  for (const event of events) {
    if (event.type === 'chat.said') {
      const key = `said-${event.offset}`
      messages.set(key, { key, ...event.data })
    } else {
      const key = `answer-${String(event.data['message'])}`
      const before = messages.get(key)?.text ?? ''
      messages.set(key, { key, by: 'agent', text: before + event.data.content })
    }
  }
  return [...messages.values()]
}
