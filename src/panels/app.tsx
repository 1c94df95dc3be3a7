import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { connect } from '../client/client.js'
import type { Status } from '../client/reconnect.js'
import { clientClock } from '../client/surroundings.js'
import { base } from './base.js'
import { countText, durationText } from './format.js'
import { hubRequests } from './hub-requests.js'
import { HubView } from './hub-view.js'
import { showIcon } from './icon.js'
import { Lag } from './lag.js'
import { Notices } from './notices.js'
import type { Meters } from './panel-feed.js'
import { addressOf, home, type Place, placeOf } from './place.js'
import { Rate } from './rate.js'
import { useAbout, useSessions } from './session-list.js'
import { SessionView } from './session-view.js'
import { Sessions } from './sessions.js'
import { marks, type Standing } from './standing.js'
import { type Seen, useStatus } from './status.js'
import { type Access, keepToken, TokenForm, takeAccess, tokenOfAddress } from './token.js'

const tickMs = 500
/** The close code of a connection without a valid token. */
const unauthorized = 4501

/** The whole page. */
export function App() {
  const [place, setPlace] = useState(() => placeOf(new URL(location.href)))
  const [now, setNow] = useState(() => clientClock.now())
  const [access, setAccess] = useState<Access>(takeAccess)
  const client = useMemo(() => connect(base, access), [access])
  const requests = useMemo(() => hubRequests(access.token), [access])
  const { status, opened } = useStatus(client)
  const listed = useSessions(client)
  const about = useAbout(requests, listed, place.session)
  /** Why the hub wants another token. */
  const [refused, setRefused] = useState<string>()
  /** The standing of the shown session, and the number of sessions of each standing. */
  const [standing, setStanding] = useState<Standing>()
  const [counts, setCounts] = useState<ReadonlyMap<Standing, number>>(new Map())
  const meters = useMemo<Meters>(
    () => ({ total: new Rate(), lag: new Lag(), gaps: new Set() }),
    [place.session],
  )

  useEffect(() => {
    let timer = clientClock.after(tickMs, tick)
    function tick(): void {
      setNow(clientClock.now())
      timer = clientClock.after(tickMs, tick)
    }
    const back = () => {
      const token = tokenOfAddress()
      if (token !== undefined) setAccess({ token })
      setPlace(placeOf(new URL(location.href)))
    }
    addEventListener('popstate', back)
    return () => {
      timer.cancel()
      removeEventListener('popstate', back)
    }
  }, [])
  useEffect(() => () => client.close(), [client])
  useEffect(() => {
    // The form stays while its token is tried.
    if (status.kind === 'connecting') return
    setRefused(status.kind === 'closed' && status.code === unauthorized ? status.reason : undefined)
  }, [status])
  useEffect(() => {
    document.title = titleOf(place.session, standing, counts)
    showIcon(place.session === undefined ? firstOf(counts) : standing)
  }, [place.session, standing, counts])

  // While the connection is lost, durations stop at the last moment that is known.
  const lastSeen = useRef(now)
  if (status.kind === 'open') lastSeen.current = now
  const seenAt = lastSeen.current

  const go = (next: Place) => {
    const isOther = next.session !== place.session || next.view !== place.view
    history[isOther ? 'pushState' : 'replaceState'](null, '', addressOf(next, base))
    setPlace(next)
  }

  return (
    <div
      class={`page ${refused !== undefined ? 'refused' : place.session === undefined && place.view === undefined ? 'at-home' : ''}`}
    >
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault()
          document.getElementById('main')?.focus()
        }}
      >
        Skip the list of sessions
      </a>
      <header class="top">
        <a
          class="brand"
          href={base}
          onClick={(event) => {
            event.preventDefault()
            go(home)
          }}
        >
          <span class="logo" aria-hidden="true" />
          Runcast
        </a>
        <Notices counts={counts} />
        <a
          class="to-hub"
          href={addressOf({ ...home, view: 'hub' }, base)}
          aria-current={place.view === 'hub' ? 'page' : undefined}
          onClick={(event) => {
            if (event.metaKey || event.ctrlKey || event.shiftKey) return
            event.preventDefault()
            go({ ...home, view: 'hub' })
          }}
        >
          Hub
        </a>
        <Connection status={status} opened={opened} meters={meters} />
      </header>
      {refused === undefined && (
        <Sessions
          listed={listed}
          requests={requests}
          place={place}
          now={seenAt}
          onPlace={go}
          onCounts={setCounts}
        />
      )}
      {refused !== undefined ? (
        <TokenForm
          reason={access.token === undefined ? undefined : refused}
          onToken={(next) => {
            keepToken(next)
            setAccess({ token: next })
          }}
        />
      ) : place.view === 'hub' ? (
        <HubView requests={requests} />
      ) : place.session === undefined ? (
        <main class="welcome" id="main" tabIndex={-1}>
          <h1>What runs, as it runs</h1>
          <p>Choose a session, or start one:</p>
          <pre>
            <code>npx runcast run --worker lint='npm run lint' --worker test='npm test'</code>
          </pre>
        </main>
      ) : (
        <SessionView
          key={`${place.session} ${access.token ?? ''}`}
          client={client}
          requests={requests}
          place={{ ...place, session: place.session }}
          meters={meters}
          listed={about}
          now={seenAt}
          onPlace={go}
          onStanding={setStanding}
        />
      )}
    </div>
  )
}

/** @returns the title of the tab, which begins with what needs attention */
function titleOf(
  session: string | undefined,
  standing: Standing | undefined,
  counts: ReadonlyMap<Standing, number>,
): string {
  if (session !== undefined) {
    const prefix =
      standing === undefined || standing === 'running' || standing === 'waiting' ? '' : `${marks[standing]} `
    return `${prefix}${session} · Runcast`
  }
  const first = firstOf(counts)
  const count = (first && counts.get(first)) ?? 0
  return first === undefined
    ? 'Runcast'
    : `${marks[first]} ${count} ${first === 'asks' ? 'need you' : first} · Runcast`
}

function firstOf(counts: ReadonlyMap<Standing, number>): Standing | undefined {
  return (['asks', 'failed'] as const).find((standing) => (counts.get(standing) ?? 0) > 0)
}

/** The state of the connection. */
function Connection({ status, opened, meters }: Seen & { readonly meters: Meters }) {
  return (
    <p class={`connection ${status.kind}`} data-resumed={Math.max(0, opened - 1)}>
      <span
        class={`dot ${status.kind === 'open' ? 'running' : status.kind === 'closed' ? 'failed' : 'waiting'}`}
        aria-hidden="true"
      />
      <span role="status">{statusText(status)}</span>
      {status.kind === 'open' && meters.lag.ms !== undefined && (
        <span title="Delay of the latest event, compared with the fastest one">
          lag {durationText(meters.lag.ms)}
        </span>
      )}
      {'cutShort' in status && status.cutShort !== undefined && (
        <span class="warn" title={status.cutShort.reason}>
          cut before everything has come, {status.cutShort.links} times in a row
        </span>
      )}
      {meters.gaps.size > 0 && <span class="warn">{countText(meters.gaps.size, 'gap')}</span>}
      {opened > 1 && <span>resumed {opened === 2 ? 'once' : `${opened - 1} times`}</span>}
    </p>
  )
}

const transports: Readonly<Record<string, string>> = { websocket: 'WebSocket', sse: 'SSE' }

function statusText(status: Status): string {
  switch (status.kind) {
    case 'connecting':
      return 'Connecting…'
    case 'open':
      return `Connected · ${transports[status.transport] ?? status.transport}`
    case 'waiting':
      return 'Connection lost · trying again'
    case 'paused':
      return `Paused · ${status.why}`
    case 'closed':
      return status.code === unauthorized ? 'A token is needed' : `Closed · ${status.reason}`
  }
}
