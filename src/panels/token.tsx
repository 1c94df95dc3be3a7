import { useEffect, useRef } from 'preact/hooks'
import { base } from './base.js'

/** Hubs that share an origin have tokens of their own. */
const storageName = base === '/' ? 'runcast.token' : `runcast.token ${base}`

export interface Access {
  readonly token?: string
}

/** @returns the token of this tab, if there is one: that of the address, otherwise the one that was given before */
export function takeAccess(): Access {
  const given = tokenOfAddress() ?? sessionStorage.getItem(storageName)
  return given === null ? {} : { token: given }
}

/**
 * Takes the token out of the address, since addresses are kept and shared. After `#` it has not even been sent to the
 * hub, whose proxies may write addresses down.
 */
export function tokenOfAddress(): string | undefined {
  const address = new URL(location.href)
  const hash = new URLSearchParams(address.hash.slice(1))
  const token = hash.get('token') ?? address.searchParams.get('token')
  if (token === null) return undefined
  address.searchParams.delete('token')
  hash.delete('token')
  address.hash = hash.toString()
  history.replaceState(null, '', address)
  keepToken(token)
  return token
}

/** Keeps the token for as long as the tab is there. */
export function keepToken(token: string): void {
  sessionStorage.setItem(storageName, token)
}

/** Asks for a token, since the hub has refused to go on without a good one. */
export function TokenForm({
  reason,
  onToken,
}: {
  /** Why the one that was given is not good; nothing when none was. */
  readonly reason: string | undefined
  readonly onToken: (token: string) => void
}) {
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => input.current?.focus(), [])
  return (
    <main class="welcome locked" id="main" tabIndex={-1}>
      <h1>This hub asks for a token</h1>
      {reason === undefined ? (
        <p>The token says what you may see.</p>
      ) : (
        <p role="alert" class="refusal">
          {reason}
        </p>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          // What is pasted often comes with the quotes that stood around it.
          const token = (input.current?.value ?? '').replaceAll(/^[\s"'“”‘’„«»]+|[\s"'“”‘’„«»]+$/g, '')
          if (token !== '') onToken(token)
        }}
      >
        <input ref={input} type="password" aria-label="Token" placeholder="Token" autocomplete="off" />
        <button type="submit">Connect</button>
      </form>
      <p>Whoever runs the hub can make one:</p>
      <pre>
        <code>runcast token --secret-file runcast.key --subscribe '**'</code>
      </pre>
    </main>
  )
}
