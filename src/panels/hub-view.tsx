import { useEffect, useRef, useState } from 'preact/hooks'
import { clientClock } from '../client/surroundings.js'
import { countText, durationText } from './format.js'
import { type Fields, fieldsOf, type Json } from './model.js'
import type { HubRequests } from './requests.js'
import { nameIn, numberOf } from './standing.js'

const askEveryMs = 2_000
const pageItems = 100

/** The hub itself, for its operators: its figures, connections and limits. */
export function HubView({ requests }: { readonly requests: HubRequests }) {
  const [hub, setHub] = useState<Fields>({})
  const [listed, setListed] = useState<Fields>({})
  const [after, setAfter] = useState<readonly string[]>([])
  const [refused, refuse] = useState('')
  /** The connection that is closed after a second click. */
  const [chosen, choose] = useState('')
  const askAgain = useRef(() => {})

  useEffect(() => {
    const stop = new AbortController()
    let timer = clientClock.after(0, () => void ask())
    async function ask(): Promise<void> {
      try {
        const [about, connections] = await Promise.all([
          requests.get('api/hub', {}, stop.signal),
          requests.get('api/connections', { limit: pageItems, after: after.at(-1) }, stop.signal),
        ])
        setHub(about)
        setListed(connections)
        refuse('')
      } catch (error) {
        if (stop.signal.aborted) return
        refuse(error instanceof Error ? error.message : String(error))
      }
      timer = clientClock.after(askEveryMs, () => void ask())
    }
    askAgain.current = () => {
      timer.cancel()
      void ask()
    }
    return () => {
      timer.cancel()
      stop.abort()
    }
  }, [requests, after])

  const close = async (id: string) => {
    choose('')
    try {
      await requests.delete(`api/connections/${encodeURIComponent(id)}`)
      askAgain.current()
    } catch (error) {
      refuse(`Not closed: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const connections = (Array.isArray(listed['connections']) ? listed['connections'] : []).map(fieldsOf)
  const { next } = listed
  return (
    <main class="view hub-view" id="main" tabIndex={-1}>
      <h1>This hub</h1>
      {refused !== '' && (
        <p class="why failed" role="alert">
          {refused}
        </p>
      )}
      <dl class="facts-list">
        {factsOf(hub).map(([name, text]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <h2>{countText(numberOf(listed['total']), 'connection')}</h2>
      <div class="table" tabIndex={0} role="group" aria-label="Connections">
        <table>
          <thead>
            <tr>
              {['Address', 'Transport', 'Open for', 'Follows', 'Lag', 'Waiting', 'Sent', 'Received'].map(
                (name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ),
              )}
              <th scope="col">
                <span class="unseen">Close</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {connections.map((one) => {
              const id = nameIn(one['id'])
              const address = nameIn(one['address']) || 'unknown'
              return (
                <tr key={id}>
                  <td title={id}>
                    {address}
                    {typeof one['subject'] === 'string' && <span class="quiet"> {one['subject']}</span>}
                  </td>
                  <td>
                    {nameIn(one['transport'])} <span class="quiet">{nameIn(one['codec'])}</span>
                  </td>
                  <td>{durationText(numberOf(one['openMs']), 'coarse')}</td>
                  <td class="topics">{topicsText(one)}</td>
                  <td>{numberOf(one['lagging']) === 0 ? '–' : `${numberOf(one['lagging'])} behind`}</td>
                  <td>{bytesText(numberOf(one['waitingBytes']))}</td>
                  <td>
                    {countText(numberOf(one['events']), 'event')}, {bytesText(numberOf(one['bytes']))}
                  </td>
                  <td>
                    {one['received'] === undefined ? '–' : countText(numberOf(one['received']), 'frame')}
                  </td>
                  <td>
                    {chosen === id ? (
                      <button type="button" class="sure" onClick={() => void close(id)}>
                        Close it now<span class="unseen"> {address}</span>
                      </button>
                    ) : (
                      <button type="button" onClick={() => choose(id)}>
                        Close<span class="unseen"> {address}</span>
                      </button>
                    )}
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </div>
      <p class="pages">
        {after.length > 0 && (
          <button type="button" onClick={() => setAfter(after.slice(0, -1))}>
            Previous page
          </button>
        )}
        {typeof next === 'string' && (
          <button type="button" onClick={() => setAfter([...after, next])}>
            Next page
          </button>
        )}
      </p>
      <details>
        <summary>Limits in effect</summary>
        <dl class="facts-list">
          {Object.entries(fieldsOf(hub['limits'])).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{numberOf(value).toLocaleString('en')}</dd>
            </div>
          ))}
        </dl>
      </details>
    </main>
  )
}

function topicsText({ topics, topicsMore }: Fields): string {
  const named = Array.isArray(topics) ? topics.map(nameIn) : []
  const more = numberOf(topicsMore)
  return named.length === 0 ? 'nothing' : `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

type Facts = readonly (readonly [string, string])[]

function storeFacts(store: Fields): Facts {
  const kept = fieldsOf(store['kept'])
  return [
    ['Stored', `${count(kept['events'])} events of ${count(kept['sessions'])} sessions`],
    ['Waiting to be stored', bytesText(numberOf(store['waitingBytes']))],
    ['Damaged sessions', count(store['damagedSessions'])],
  ]
}

/** What this hub has done with the log that it shares. */
function logFacts(log: Fields): Facts {
  const faults = [
    countText(numberOf(log['failures']), 'call'),
    countText(numberOf(log['reconnects']), 'connection'),
    countText(numberOf(log['deadFeeds']), 'feed'),
  ]
  return [
    ['Appended', `${count(log['appends'])} batches, ${bytesText(numberOf(log['bytes']))}`],
    ['Sessions followed', count(log['followed'])],
    ['Test message', `${numberOf(log['feedMs']).toFixed(1)} ms`],
    ['Faults of the log', faults.join(', ')],
  ]
}

function count(value: Json | undefined): string {
  return numberOf(value).toLocaleString('en')
}

function factsOf(hub: Fields): Facts {
  if (hub['store'] === undefined) return []
  const store = fieldsOf(hub['store'])
  const connections = fieldsOf(hub['connections'])
  const history = fieldsOf(hub['history'])
  const { fault, kind } = store
  const health = `${nameIn(kind)}, ${typeof fault === 'string' ? `failing: ${fault}` : 'in order'}`
  return [
    ...(hub['log'] === undefined
      ? ([['Store', health], ...storeFacts(store)] as const)
      : ([['Log', health], ...logFacts(fieldsOf(hub['log']))] as const)),
    ['Sessions', count(hub['sessions'])],
    ['Connections', `${count(connections['websocket'])} WebSocket, ${count(connections['sse'])} SSE`],
    ['Subscriptions', `${count(hub['subscriptions'])}, ${count(hub['lagging'])} behind`],
    ['Feeds', count(hub['feeds'])],
    ['Published', `${count(hub['published'])} events`],
    ['Delivered', `${count(hub['delivered'])} events, ${bytesText(numberOf(hub['deliveredBytes']))}`],
    ['Waiting to be sent', bytesText(numberOf(hub['waitingBytes']))],
    ['In memory', `${count(history['events'])} events, ${bytesText(numberOf(hub['memoryBytes']))}`],
  ]
}

/** @returns `12 B`, `3.4 KiB`, `120 MiB` */
export function bytesText(bytes: number): string {
  let left = bytes
  let unit = 'B'
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (left < 1_024) break
    left /= 1_024
    unit = next
  }
  return `${unit === 'B' || left >= 100 ? Math.round(left) : left.toFixed(1)} ${unit}`
}
