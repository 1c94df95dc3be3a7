import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'

/** The part of a clock that a client needs. */
export type ClientClock = Pick<Clock, 'now' | 'elapsed' | 'after'>

/** The part of the WHATWG `WebSocket` that a client needs; `ws` has it too. */
export interface SocketLike {
  binaryType: string
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(data: string | Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
}

/** A constructor of sockets: the browser's `WebSocket`, or the class of the package `ws`. */
export type SocketClass = new (url: string, protocols: string[]) => SocketLike

/** The state of a page in which a client may pause. */
export interface Page {
  readonly hidden: boolean
  readonly offline: boolean
  /** Calls `changed` whenever the state may have changed. @returns a function that stops it */
  watch(changed: () => void): () => void
}

/**
 * The system's clock. Unlike those of `systemClock`, its timers keep a process alive, so that a program that waits for the next
 * attempt to connect does not exit; `client.close()` cancels them all.
 */
export const clientClock: ClientClock = {
  now: () => Date.now(),
  // Where there is no `performance`, a jump of the clock may cost a connection.
  elapsed: () => (globalThis.performance ?? Date).now(),
  after(ms, task) {
    const timeout = setTimeout(task, ms)
    return { cancel: () => clearTimeout(timeout) }
  },
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-'

/** The system's randomness: ids from Web Crypto, which browsers and Node have. */
export const clientRandom: Random = {
  fraction: () => Math.random(),
  id(size = 21) {
    let id = ''
    for (const byte of crypto.getRandomValues(new Uint8Array(size))) id += alphabet[byte & 63]
    return id
  },
}

interface Watched {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

interface BrowserGlobals {
  readonly document?: Watched & { readonly visibilityState: string }
  readonly navigator?: { readonly onLine?: boolean }
  readonly addEventListener?: Watched['addEventListener']
  readonly removeEventListener?: Watched['removeEventListener']
  readonly location?: { readonly href: string }
  readonly WebSocket?: SocketClass
}

const browser = globalThis as unknown as BrowserGlobals

/** The current page; outside browsers, one that is always visible and online. */
export const page: Page = {
  get hidden() {
    return browser.document?.visibilityState === 'hidden'
  },
  get offline() {
    return browser.document !== undefined && browser.navigator?.onLine === false
  },
  watch(changed) {
    if (browser.document === undefined) return () => undefined
    browser.document.addEventListener('visibilitychange', changed)
    browser.addEventListener?.('online', changed)
    browser.addEventListener?.('offline', changed)
    return () => {
      browser.document?.removeEventListener('visibilitychange', changed)
      browser.removeEventListener?.('online', changed)
      browser.removeEventListener?.('offline', changed)
    }
  },
}

/** @returns the global `WebSocket`: browsers and Node from 22 on have one. */
export function globalSocketClass(): SocketClass | undefined {
  return browser.WebSocket
}

/**
 * @param url of the hub: `http(s)` or `ws(s)`, absolute, or relative to the page
 * @returns its base as `http(s)`, ending in a slash, without query and fragment
 * @throws TypeError when it is not such a URL
 */
export function baseUrl(url: string): string {
  const hint = /^[\w.-]+:\d/.test(url) ? `; did you mean http://${url}?` : ''
  const base = hint ? undefined : new URL(url, browser.location?.href)
  if (base === undefined || !/^(http|ws)s?:$/.test(base.protocol)) {
    throw new TypeError(`connect: expected an http(s) or ws(s) URL, got ${url}${hint}`)
  }
  base.protocol = base.protocol.replace('ws', 'http')
  base.search = ''
  base.hash = ''
  return base.href.endsWith('/') ? base.href : `${base.href}/`
}
