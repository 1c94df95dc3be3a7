import { type FormEvent, useState } from 'react'
import { RuncastProvider, useClient, useEvents, useSessionState, useStatus } from './hub.ts'
import { messagesOf } from './messages.ts'

const parameters = new URLSearchParams(location.search)
const topic = `sessions/${parameters.get('chat') ?? 'chat-1'}`
const types = ['chat.said', 'client_output_delta'] as const

function Chat() {
  const client = useClient()
  const { kind } = useStatus()
  const viewers = useSessionState(topic, '$watchers')?.count
  const { events, live } = useEvents(topic, { types, replay: 'all', eventsMax: 5_000 })
  const [by, setBy] = useState(parameters.get('by') ?? 'ann')
  const [failure, setFailure] = useState('')

  const say = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = event.currentTarget
    const text = String(new FormData(form).get('text'))
    client?.publish(topic, { type: 'chat.said', data: { by, text } }).then(
      () => setFailure(''),
      (error: unknown) => setFailure(String(error)),
    )
    form.reset()
  }

  return (
    <main>
      <header>
        <span>{kind === 'open' && live ? 'connected' : 'connecting…'}</span>
        {viewers !== undefined && <span>{viewers === 1 ? 'only you' : `${viewers} viewers`}</span>}
        <button type="button" onClick={() => void client?.command(topic, 'cancel')}>
          Stop
        </button>
      </header>
      <ol>
        {messagesOf(events).map((message) => (
          <li key={message.key}>
            <b>{message.by}:</b> {message.text}
          </li>
        ))}
      </ol>
      <form onSubmit={say}>
        <input
          name="by"
          size={8}
          aria-label="Your name"
          value={by}
          onChange={(event) => setBy(event.target.value)}
        />
        <input name="text" aria-label="Message" required autoComplete="off" />
        <button>Send</button>
      </form>
      <p role="alert">{failure}</p>
    </main>
  )
}

export function App() {
  return (
    <RuncastProvider url="/">
      <Chat />
    </RuncastProvider>
  )
}
