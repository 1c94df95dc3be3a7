import { isIP } from 'node:net'
import { isObject } from '../../lib/json.js'
import { quote } from '../../protocol/codes.js'
import { type NoticeKind, noticeKinds } from '../../session/notice.js'
import { PermittedAddresses } from './addresses.js'

/** Who is told of what happens in sessions. */
export interface WebhookOptions {
  /** `https`; `http` only where `allow` has the address. */
  readonly url: string
  /** Of what. `ended` includes failures and losses. */
  readonly on: readonly NoticeKind[]
  /** Signs what is sent; at least 16 characters. */
  readonly secret: string
  /** Loopback and private addresses, or ranges such as `10.1.0.0/16`, that the URL may lead to. None unless given. */
  readonly allow?: readonly string[]
}

/** One receiver, checked. */
export interface Webhook {
  readonly url: URL
  readonly kinds: ReadonlySet<NoticeKind>
  readonly secret: string
  readonly addresses: PermittedAddresses
}

const webhooksMax = 16
const secretLengthMin = 16
const fields: readonly string[] = ['url', 'on', 'secret', 'allow']

/** @throws Error that names the place */
export function checkedWebhooks(value: unknown): readonly Webhook[] {
  if (!Array.isArray(value) || value.length > webhooksMax) {
    throw new Error(`webhooks: expected a list of at most ${webhooksMax}, got ${quote(value)}`)
  }
  const webhooks = value.map((one: unknown, index) => checked(one, `webhooks[${index}]`))
  const urls = webhooks.map(({ url }) => url.href)
  const twice = urls.find((url, index) => urls.indexOf(url) !== index)
  if (twice !== undefined) throw new Error(`webhooks: ${twice} is there twice; name all kinds in one "on"`)
  return webhooks
}

function checked(value: unknown, place: string): Webhook {
  if (!isObject(value)) throw new Error(`${place}: expected an object, got ${quote(value)}`)
  const stranger = Object.keys(value).find((field) => !fields.includes(field))
  if (stranger !== undefined)
    throw new Error(`${place}.${stranger}: expected nothing but ${fields.join(', ')}`)
  const { url, on, secret, allow = [] } = value
  if (typeof secret !== 'string' || secret.length < secretLengthMin) {
    throw new Error(`${place}.secret: expected a text of at least ${secretLengthMin} characters`)
  }
  const isKind = (one: unknown): one is NoticeKind => noticeKinds.some((kind) => kind === one)
  if (!Array.isArray(on) || on.length === 0 || !on.every(isKind)) {
    throw new Error(`${place}.on: expected a list of ${noticeKinds.join(', ')}, got ${quote(on)}`)
  }
  const addresses = new PermittedAddresses(allow, `${place}.allow`)
  return { url: urlOf(url, addresses, `${place}.url`), kinds: new Set(on), secret, addresses }
}

function urlOf(value: unknown, addresses: PermittedAddresses, place: string): URL {
  if (typeof value !== 'string' || !URL.canParse(value) || !/^https?:\/\//.test(value)) {
    throw new Error(`${place}: expected an https URL, got ${quote(value)}`)
  }
  const url = new URL(value)
  if (url.username !== '' || url.password !== '') {
    throw new Error(`${place}: expected a URL without name and password; what is sent is signed`)
  }
  const literal = addressIn(url)
  const fault = literal && addresses.faultOf(literal, url.protocol === 'http:')
  if (fault !== undefined) throw new Error(`${place}: ${fault}`)
  return url
}

/** @returns the address that a URL names instead of a host */
export function addressIn({ hostname }: URL): string | undefined {
  const address = hostname.replace(/^\[(.*)\]$/, '$1')
  return isIP(address) === 0 ? undefined : address
}
