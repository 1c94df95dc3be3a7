import type { Connection } from '../../delivery/connection.js'
import { type Checked, checkFrame } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Authorize, ClientFrame } from '../../protocol/frames.js'
import type { TopicName } from '../../protocol/topic.js'
import type { Answer } from '../../transport/transport.js'
import { sameHub, unlocked, type VerifiedGrant } from '../access/grant.js'
import { fingerprint } from '../access/tokens.js'
import type { StreamContext } from '../context.js'
import { bodyKind, parseBody, readBody } from '../http/body.js'
import { json, problem, refusal } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { followedBy } from './stream-link.js'

/** What may be asked of a response over many topics. */
const changes: readonly ClientFrame['type'][] = ['subscribe', 'update', 'unsubscribe', 'authorize']

/** A response that may be changed. */
export interface OpenStream {
  readonly connection: Connection
  /** The topic of a response that has no other: only its token may be replaced, by one that permits the topic. */
  readonly only?: TopicName
}

/**
 * Frames of the WebSocket protocol, one or a list, done in order up to the first that is refused. They come with the
 * token that the stream has now; or with a new one of the same holder, which their first frame hands over.
 */
export async function change(
  context: StreamContext,
  call: Call,
  stream: OpenStream | undefined,
): Promise<Answer | undefined> {
  const { limits, rateLimits } = context
  if (stream === undefined) {
    const elsewhere = context.hub.isShared ? `: ${sameHub}` : '.'
    throw new ProtocolError('notFound', `There is no open stream with this connection id${elsewhere}`)
  }
  const { connection, only } = stream
  call.use(({ grant }) => expectHolder(context, connection, grant))
  bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value = await parseBody(context, call, body)
  const frames: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (frames.length > limits.streamFramesMax) {
    throw refusal('body', `at most ${limits.streamFramesMax} frames`, frames.length)
  }
  const address = rateLimits.addressOf(call.request)
  rateLimits.charge(address, frames.length)
  if (call.sender !== address) rateLimits.charge(call.sender, frames.length)
  const renewal = await renewalOf(context, frames)
  if (context.hub.isShared && only === undefined) await context.hub.openAll(followedBy(frames, limits))
  return call.use(({ grant }) => {
    if (expectHolder(context, connection, grant).token !== grant.token) {
      const [first] = frames
      if (!isAuthorize(first) || fingerprint(first.token) !== grant.token) throw stranger()
    }
    return applyAll(context, stream, value, renewal)
  })
}

/** @returns the grant of the stream; a request with another grant of the same holder may renew it */
function expectHolder(
  { connectionGrants }: StreamContext,
  connection: Connection,
  { holder }: VerifiedGrant,
): VerifiedGrant {
  const held = connectionGrants.grantOf(connection)
  if (held?.holder !== holder) throw stranger()
  return held
}

function stranger(): ProtocolError {
  return new ProtocolError('forbidden', 'the stream was opened with another token; use that one')
}

function applyAll(
  context: StreamContext,
  stream: OpenStream,
  value: unknown,
  renewal: Renewal | undefined,
): Answer {
  const { limits } = context
  const frames: readonly unknown[] = Array.isArray(value) ? value : [value]
  let applied = 0
  try {
    stream.connection.together(() => {
      for (const frame of frames) {
        apply(context, stream, checkFrame(frame, limits), renewal)
        applied += 1
      }
    })
    return json(200, { applied })
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    const pointer = Array.isArray(value) ? `/${applied}${error.place.pointer ?? ''}` : error.place.pointer
    return problem(new ProtocolError(error.code, error.message, pointer === undefined ? {} : { pointer }), {
      applied,
    })
  }
}

/** A new token, and what it stands for, or why it is refused. */
interface Renewal {
  readonly token: string
  readonly verdict: VerifiedGrant | ProtocolError
}

/** Verifies the token of the first `authorize` beforehand: the frames themselves are done in one step. */
async function renewalOf(
  { authenticator }: StreamContext,
  frames: readonly unknown[],
): Promise<Renewal | undefined> {
  const token = frames.find(isAuthorize)?.token
  if (token === undefined) return undefined
  try {
    return { token, verdict: await authenticator.grantOfToken(token, unlocked) }
  } catch (error) {
    if (error instanceof ProtocolError) return { token, verdict: error }
    throw error
  }
}

function isAuthorize(frame: unknown): frame is Authorize {
  const { type, token } = (frame ?? {}) as { readonly type?: unknown; readonly token?: unknown }
  return type === 'authorize' && typeof token === 'string'
}

function apply(
  { connectionGrants }: StreamContext,
  { connection, only }: OpenStream,
  frame: Checked<ClientFrame>,
  renewal: Renewal | undefined,
): void {
  if (!connection.open) throw new ProtocolError('notFound', 'The stream has ended.')
  if (only !== undefined && frame.type !== 'authorize') throw refusal('frame.type', 'authorize', frame.type)
  switch (frame.type) {
    case 'subscribe':
    case 'update':
    case 'unsubscribe':
      return connection.receive(frame)
    case 'authorize':
      if (renewal?.token !== frame.token) throw new ProtocolError('badFrame', 'authorize: expected one token')
      if (renewal.verdict instanceof ProtocolError) throw renewal.verdict
      if (only !== undefined) renewal.verdict.use((permissions) => permissions.expectRead(only))
      return connectionGrants.renew(connection, renewal.verdict)
    default:
      throw refusal('frame.type', `one of ${changes.join(', ')}`, frame.type)
  }
}
