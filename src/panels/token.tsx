import { useRef } from 'preact/hooks'

const storageName = 'runcast.token'

/**
 * @returns the token of this tab, if there is one: that of the address, which is taken out of it, since addresses are
 *   kept and shared; otherwise the one that was given before
 */
export function takeAccess(): { readonly token?: string } {
  const address = new URL(location.href)
  const token = address.searchParams.get('token')
  if (token === null) {
    const kept = sessionStorage.getItem(storageName)
    return kept === null ? {} : { token: kept }
  }
  address.searchParams.delete('token')
  history.replaceState(null, '', address)
  keepToken(token)
  return { token }
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
  readonly reason: string
  readonly onToken: (token: string) => void
}) {
  const input = useRef<HTMLInputElement>(null)
  return (
    <main class="welcome locked">
      <h1>This hub asks for a token</h1>
      <p role="alert">{reason}</p>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          const token = input.current?.value.trim() ?? ''
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
