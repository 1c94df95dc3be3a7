import { useEffect, useRef } from 'preact/hooks'
import { base } from './base.js'

/** Hubs that share an origin each have their own token. */
const storageName = base === '/' ? 'runcast.token' : `runcast.token ${base}`

export interface Access {
  readonly token?: string
}

/** @returns the token of this tab: from the address, else the one that was given before; empty if there is none */
export function takeAccess(): Access {
  const given = tokenOfAddress() ?? sessionStorage.getItem(storageName)
  return given === null ? {} : { token: given }
}

/**
 * Removes the token from the address, because addresses are stored and shared. A token after `#` is not even sent to the
 * hub, so no proxy can log it.
 *
 * @returns the token; undefined if the address has none
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

/** Stores the token until the tab is closed. */
export function keepToken(token: string): void {
  sessionStorage.setItem(storageName, token)
}

/** Asks for a token, after the hub has refused a connection without a valid one. */
export function TokenForm({
  reason,
  onToken,
}: {
  /** Why the hub refused the given token; absent if none was given. */
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
          // Pasted tokens often include the quotes around them.
          const token = (input.current?.value ?? '').replaceAll(/^[\s"'“”‘’„«»]+|[\s"'“”‘’„«»]+$/g, '')
          if (token !== '') onToken(token)
        }}
      >
        <input ref={input} type="password" aria-label="Token" placeholder="Token" autocomplete="off" />
        <button type="submit">Connect</button>
      </form>
      <p>The operator of the hub can make one:</p>
      <pre>
        <code>runcast token --secret-file runcast.key --subscribe '**'</code>
      </pre>
    </main>
  )
}
