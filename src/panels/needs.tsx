import { useState } from 'preact/hooks'
import type { Client } from '../client/client.js'
import { durationText } from './format.js'
import type { Fields, Json } from './model.js'
import { listedNeeds, type Need, needsOf } from './standing.js'

/** A worker, or the session itself, that may have open questions. */
export interface Asking {
  readonly topic: string
  readonly name: string
  readonly about: Fields
}

/** The open questions, each with a field for the answer. */
export function Needs({
  client,
  asking,
  now,
}: {
  readonly client: Client
  readonly asking: readonly Asking[]
  readonly now: number
}) {
  const all = asking.flatMap((one) => listedNeeds(one.about).map((need) => ({ ...one, need })))
  const total = asking.reduce((sum, { about }) => sum + needsOf(about), 0)
  if (all.length === 0) return null
  return (
    <section class="needs" aria-labelledby="needs">
      <h2 id="needs">{total === 1 ? '1 question needs you' : `${total} questions need you`}</h2>
      <ul>
        {all.map(({ topic, name, need }) => (
          <Question
            key={`${topic} ${need.key}`}
            client={client}
            topic={topic}
            name={name}
            need={need}
            now={now}
          />
        ))}
      </ul>
      {total > all.length && (
        <p class="empty">{total - all.length} more are shown when these have been answered.</p>
      )}
    </section>
  )
}

type Sending = { readonly kind: 'sending' | 'sent' } | { readonly kind: 'refused'; readonly why: string }

function Question({
  client,
  topic,
  name,
  need,
  now,
}: {
  readonly client: Client
  readonly topic: string
  readonly name: string
  readonly need: Need
  readonly now: number
}) {
  const [text, write] = useState('')
  const [sending, setSending] = useState<Sending>()
  const id = `answer-${topic}-${need.key}`

  const answer = async (data: { readonly [name: string]: Json }) => {
    setSending({ kind: 'sending' })
    try {
      // While the hub is unreachable the client holds the command; without a timeout nobody would learn the outcome.
      await client.command(topic, 'input', { key: need.key, ...data }, { timeoutMs: 10_000 })
      setSending({ kind: 'sent' })
    } catch (error) {
      setSending({ kind: 'refused', why: error instanceof Error ? error.message : String(error) })
    }
  }
  return (
    <li>
      <p class="asked">
        <b>{name}</b> asks{need.kind === 'input' ? '' : ` for ${need.kind}`} · {durationText(now - need.time)}{' '}
        ago
      </p>
      <p id={id} class="question">
        {need.text}
      </p>
      {need.kind === 'credentials' ? (
        <div class="answers">
          <span class="sent">
            An answer typed here would be stored. Enter the credentials where the agent runs.
          </span>
          <button
            type="button"
            disabled={sending?.kind === 'sending'}
            onClick={() => void answer({ value: true })}
          >
            They are set
          </button>
        </div>
      ) : need.kind === 'permission' ? (
        <div class="answers">
          <button
            type="button"
            disabled={sending?.kind === 'sending'}
            onClick={() => void answer({ value: true })}
          >
            Allow
          </button>
          <button
            type="button"
            disabled={sending?.kind === 'sending'}
            onClick={() => void answer({ value: false })}
          >
            Refuse
          </button>
        </div>
      ) : (
        <form
          class="answers"
          onSubmit={(event) => {
            event.preventDefault()
            if (text !== '') void answer({ text })
          }}
        >
          <input
            type="text"
            aria-label={`Answer to ${name}`}
            aria-describedby={id}
            placeholder="Answer"
            value={text}
            autocomplete="off"
            onInput={(event) => write(event.currentTarget.value)}
          />
          <button type="submit" disabled={text === '' || sending?.kind === 'sending'}>
            Answer
          </button>
        </form>
      )}
      <p role="status" class={sending?.kind === 'refused' ? 'refusal' : 'sent'}>
        {sending?.kind === 'sending' && 'Sending…'}
        {sending?.kind === 'sent' && 'Sent. The question stays here until the agent has taken the answer.'}
        {sending?.kind === 'refused' && `Not sent: ${sending.why}`}
      </p>
    </li>
  )
}
