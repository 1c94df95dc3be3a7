import { type CloseCode, closeCodes, ProtocolError } from '../../protocol/codes.js'
import type { Answer, Request, Socket, SocketEvents, Upgrade } from '../../transport/transport.js'
import type { VerifiedGrant } from '../access/grant.js'
import { expectHost } from '../access/origins.js'
import type { Context } from '../context.js'
import type { BodyShare } from '../http/body-budget.js'
import { problemOf, shuttingDown } from '../http/problem.js'
import { integerOf } from '../http/query.js'
import { expectKnownQuery, type Route } from '../http/routes.js'
import type { Closable } from './links.js'
import { Client, type Subprotocol, subprotocols, type Welcome } from './websocket.js'

export const socketPath = '/api/ws'

/** Bounds of the largest frame that a client accepts. Bytes. */
const receiveBounds = { min: 64 * 1024, max: 2 ** 31 - 1 }

/** The memory of a waiting frame in addition to its bytes. */
const frameOverhead = 128

/** The answer to a request without an upgrade on the path of WebSockets. */
export const socketRoute: Route = {
  method: 'GET',
  path: socketPath,
  access: { kind: 'open' },
  answer() {
    const message = `${socketPath} is for WebSockets: expected an Upgrade; without, follow /api/stream`
    throw new ProtocolError('badFrame', message)
  },
}

/** Accepts a WebSocket at `/api/ws`, or refuses it with the reason. */
export function upgrade(context: Context, request: Request): Upgrade {
  try {
    const address = expectWelcome(context, request)
    const chosen = chooseSubprotocol(request.headers.get('sec-websocket-protocol'))
    const query = new URLSearchParams(request.query)
    expectKnownQuery({ query: ['receiveBytesMax'] }, query)
    const receiveBytesMax = integerOf(query, 'receiveBytesMax', receiveBounds)
    const visitor = { protocol: chosen ?? 'runcast.v1.json', address, receiveBytesMax } as const
    return {
      kind: 'accepted',
      ...(chosen && { protocol: chosen }),
      open: grantee(context, request, visitor),
    }
  } catch (error) {
    return { kind: 'refused', answer: refusal(context, error) }
  }
}

/** Of hundreds that arrive at once, a few are answered in each turn. */
function refusal({ entryQueue, report }: Context, error: unknown): Answer | Promise<Answer> {
  const answer = (): Answer => problemOf(error, report)
  return entryQueue.pass()?.then(answer) ?? answer()
}

type Open = Extract<Upgrade, { readonly kind: 'accepted' }>['open']

/** A browser cannot see why a handshake failed, so a client without permission gets a close code. */
function grantee(context: Context, request: Request, visitor: Peer): Open {
  try {
    const grant = context.authenticator.grantOf(request)
    if (grant instanceof Promise) return (socket) => new PendingSocket(context, socket, visitor, grant)
    return (socket) => {
      try {
        const client = new Client(context, socket, { ...visitor, grant })
        context.links.add('websocket', client, visitor.address)
        return client
      } catch (error) {
        return turnedAway(socket, error)
      }
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    return (socket) => turnedAway(socket, error)
  }
}

/** @throws errors that are not a peer's mistake */
function turnedAway(socket: Socket, error: unknown): SocketEvents {
  if (!(error instanceof ProtocolError)) throw error
  socket.close(closeCodes[closeCodeOf(error)], error.message)
  const nothing = (): void => {}
  return { message: nothing, tooLarge: nothing, drained: nothing, pulse: nothing, closed: nothing }
}

/** Only if the permission could not be determined may the client try again. */
function closeCodeOf({ code }: ProtocolError): CloseCode {
  switch (code) {
    case 'unavailable':
    case 'internalError':
      return 'internalError'
    case 'forbidden':
      return 'forbidden'
    default:
      return 'unauthorized'
  }
}

/** @returns the address of the client */
function expectWelcome({ rateLimits, hosts, origins, links, closing }: Context, request: Request): string {
  const address = rateLimits.addressOf(request)
  rateLimits.expectFit(request)
  rateLimits.charge(address)
  expectHost(request, hosts)
  if (request.path !== socketPath) {
    throw new ProtocolError(
      'notFound',
      `There is no WebSocket at ${request.path.slice(0, 200)}; it is at ${socketPath}.`,
    )
  }
  origins.expect(request)
  if (closing()) throw shuttingDown()
  links.expectRoom(address)
  return address
}

/**
 * @returns the first subprotocol in the client's list that the hub supports; undefined if there is no list, or only a token in
 *   it
 * @throws ProtocolError `badFrame` when the hub supports none of them
 */
function chooseSubprotocol(header: string | undefined): Subprotocol | undefined {
  const offered = (header ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('bearer.'))
  const chosen = offered.map((name) => subprotocols.find((known) => known === name)).find(Boolean)
  if (chosen !== undefined || offered.length === 0) return chosen
  throw new ProtocolError('badFrame', `sec-websocket-protocol: expected one of ${subprotocols.join(', ')}`)
}

type Peer = Omit<Welcome, 'grant'>

/** An open WebSocket whose token is being verified. Its frames wait meanwhile. */
class PendingSocket implements SocketEvents, Closable {
  readonly #context: Context
  readonly #socket: Socket
  readonly #visitor: Peer
  /** Absent if nothing waits, because most clients send nothing before `welcome`. */
  #share: BodyShare | undefined
  #early: { readonly bytes: Uint8Array; readonly binary: boolean }[] = []
  #earlyBytes = 0
  #client: Client | undefined
  #ended = false

  constructor(context: Context, socket: Socket, visitor: Peer, grant: Promise<VerifiedGrant>) {
    this.#context = context
    this.#socket = socket
    this.#visitor = visitor
    context.links.add('websocket', this, visitor.address)
    grant
      .then((granted) => this.#enter(granted))
      .catch((error: unknown) => {
        if (error instanceof ProtocolError) return this.close(closeCodeOf(error), error.message)
        context.report(error)
        this.close('internalError', 'the hub failed')
      })
  }

  message(bytes: Uint8Array, binary: boolean): void {
    if (this.#client !== undefined) return this.#client.message(bytes, binary)
    if (this.#ended) return
    this.#earlyBytes += bytes.length + frameOverhead
    try {
      this.#expectFit()
      this.#share ??= this.#context.bodyBudget.take(this.#visitor.address, ({ message }) =>
        this.close('rateExceeded', message),
      )
      this.#share.hold(this.#earlyBytes)
    } catch (error) {
      return this.close('rateExceeded', (error as ProtocolError).message)
    }
    this.#early.push({ bytes: bytes.slice(), binary })
  }

  tooLarge(): void {
    const { frameBytesMax } = this.#context.limits
    if (this.#client !== undefined) this.#client.tooLarge()
    else this.close('frameTooLarge', `expected frames of at most ${frameBytesMax} bytes`)
  }

  drained(): void {
    this.#client?.drained()
  }

  pulse(): void {
    if (this.#client !== undefined) return this.#client.pulse()
    if (this.#ended) return
    try {
      this.#context.rateLimits.charge(this.#visitor.address)
    } catch (error) {
      this.close('rateExceeded', (error as ProtocolError).message)
    }
  }

  closed(code: number): void {
    this.#end()
    if (this.#client !== undefined) this.#client.closed(code)
    else this.#context.links.remove('websocket', this, this.#visitor.address)
  }

  close(code: CloseCode, reason: string, retryMs?: number): void {
    if (this.#client !== undefined) return this.#client.close(code, reason, retryMs)
    this.#end()
    this.#socket.close(closeCodes[code], reason)
  }

  #enter(grant: VerifiedGrant): void {
    if (this.#ended) return
    const early = this.#early
    this.#end()
    this.#socket.cork(() => {
      const client = new Client(this.#context, this.#socket, { ...this.#visitor, grant })
      this.#client = client
      this.#context.links.replace('websocket', this, client)
      for (const { bytes, binary } of early) client.message(bytes, binary)
    })
  }

  /** The wait is over. */
  #end(): void {
    this.#ended = true
    this.#early = []
    this.#share?.release()
    this.#share = undefined
  }

  /** A single frame may have the full size. */
  #expectFit(): void {
    const { frameBytesMax } = this.#context.limits
    if (this.#early.length === 0 || this.#earlyBytes <= frameBytesMax) return
    throw new ProtocolError('rateExceeded', `expected at most ${frameBytesMax} bytes before the welcome`)
  }
}
