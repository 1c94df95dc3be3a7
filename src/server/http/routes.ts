import { strict as assert } from 'node:assert'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Permissions } from '../../protocol/permissions.js'
import type { TopicName } from '../../protocol/topic.js'
import type { Answer, Exchange, Request } from '../../transport/transport.js'
import type { Authenticator } from '../access/authenticator.js'
import { unlocked, unlockedElsewhere, type VerifiedGrant } from '../access/grant.js'
import { corsHeaders, expectHost, type Hosts, type OriginRules, preflightHeaders } from '../access/origins.js'
import { type RateLimits, UnclearLength } from '../access/rate-limits.js'
import type { ServerCounts } from '../operations/metric-definitions.js'
import { problemOf, problemPage, refusal, shuttingDown } from './problem.js'
import { fits, fitsLength, paramsOf } from './route-paths.js'

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The head of a request, for routes. */
export interface RequestHead {
  readonly request: Request
  readonly query: URLSearchParams
  /** The decoded segment for `{name}` in the route's path; sessions and workers are valid ids. */
  readonly param: (name: string) => string
}

/**
 * The permission that a route requires: none; any token, if the route itself returns only what the token permits; permission to
 * read a topic, to publish to it, at least to send commands to it, or either; permission to read the hub's metrics;
 * or permission to read those and every topic.
 */
export type Access =
  | { readonly kind: 'open' | 'any' | 'hub' | 'operate' }
  | {
      readonly kind: 'read' | 'write' | 'command' | 'either'
      readonly topic: (head: RequestHead) => TopicName
    }

/** One route. */
export interface Route {
  readonly method: Method
  /**
   * Literal segments and `{parameters}`: `/api/sessions/{session}/events`. A last `{name...}` takes all further segments; it is
   * the id of the durable stream at this path.
   */
  readonly path: string
  readonly access: Access
  /**
   * Its query parameters, in addition to `token` and `ticket`. Any other is refused, unless the query names a dialect. Without
   * a list any parameter is accepted: for routes outside `/api/`, and those of dialects.
   */
  readonly query?: readonly string[]
  /** Its clients may use names that are not valid ids of sessions; they are escaped. */
  readonly foreignIds?: true
  /** Answered even while the server is stopping. */
  readonly whileClosing?: true
  /** Pages of any origin may read it: it contains no data of sessions, and does not depend on the user. */
  readonly anyOrigin?: true
  /**
   * Answers, or streams and returns undefined. An exception is answered as a problem. `HEAD` requests are handled too; the
   * transport leaves out the body.
   */
  answer(call: Call): Answer | undefined | Promise<Answer | undefined>
}

/** The permissions of a request at one moment; see `Call.use`. */
export interface Permitted {
  /** The topic of the route's `access`; `hub` if it names none. */
  readonly topic: TopicName
  readonly param: RequestHead['param']
  readonly permissions: Permissions
  /** For responses that stay open. */
  readonly grant: VerifiedGrant
}

/** One request within a route. */
export interface Call {
  readonly request: Request
  readonly exchange: Exchange
  readonly query: URLSearchParams
  /** The identity for rate limits: the token's holder, or an address. */
  readonly sender: string
  /** Additional headers that a streamed response must send; answers get them automatically. */
  readonly headers: Readonly<Record<string, string>>
  /**
   * Runs a task with the permissions and the topic. There is no other access to them, so after an `await` the permissions have
   * to be checked again.
   *
   * @throws ProtocolError `unauthorized` when the token is no longer valid; then the task has not run
   */
  readonly use: <Result>(task: (permitted: Permitted) => Result) => Result
}

export interface RoutesOptions {
  readonly limits: Limits
  readonly rateLimits: RateLimits
  readonly origins: OriginRules
  readonly hosts: Hosts
  readonly authenticator: Authenticator
  /** Called with errors that are not a peer's mistake. */
  readonly report: (error: unknown) => void
  readonly counts: Pick<ServerCounts, 'answers' | 'requests'>
  /** Whether the server is stopping; then only health checks are answered. */
  readonly closing: () => boolean
}

/** Headers of every answer: no content sniffing, and no use as an image or script by pages of other origins. */
const guards: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
}

interface Pattern {
  readonly segments: readonly string[]
  readonly methods: Map<Method, Route>
}

/** A request's path with the pattern that it fits, and the headers of all its answers. */
interface Matched {
  readonly segments: readonly string[]
  readonly pattern: Pattern | undefined
  readonly headers: Readonly<Record<string, string>>
}

/** The table of routes. */
export class Routes {
  /** By the number of segments, those that may fit; the last ones are for all longer paths. Most requests compare few. */
  readonly #patterns: readonly (readonly Pattern[])[]
  readonly #options: RoutesOptions
  #idle: (() => void) | undefined = undefined

  constructor(routes: readonly Route[], options: RoutesOptions) {
    this.#options = options
    const patterns = new Map<string, Pattern>()
    for (const route of routes) {
      const pattern = patterns.get(route.path) ?? {
        segments: route.path.split('/'),
        methods: new Map(),
      }
      assert(!pattern.methods.has(route.method), `two routes for ${route.method} ${route.path}`)
      pattern.methods.set(route.method, route)
      patterns.set(route.path, pattern)
    }
    const all = [...patterns.values()]
    const longest = Math.max(0, ...all.map(({ segments }) => segments.length))
    this.#patterns = Array.from({ length: longest + 2 }, (_, count) =>
      all.filter(({ segments }) => fitsLength(segments, count)),
    )
  }

  /** Whether any method of this path exists. */
  has(path: string): boolean {
    return this.#match(path.split('/')) !== undefined
  }

  /** Answers the request in any case. */
  answer(request: Request, exchange: Exchange): void {
    this.#options.counts.requests += 1
    void this.#answerOf(request, exchange)
      .then((answer) => {
        if (answer === undefined) return
        const { answers } = this.#options.counts
        answers.set(answer.status, (answers.get(answer.status) ?? 0) + 1)
        exchange.answer(answer)
      })
      .catch(this.#options.report)
      .finally(() => {
        this.#options.counts.requests -= 1
        if (this.busy === 0) this.#idle?.()
      })
  }

  /** The number of requests in progress. */
  get busy(): number {
    return this.#options.counts.requests
  }

  /** @returns when no request is in progress; responses that stay open do not count */
  async idle(): Promise<void> {
    if (this.busy === 0) return
    await new Promise<void>((resolve) => {
      this.#idle = resolve
    })
  }

  async #answerOf(request: Request, exchange: Exchange): Promise<Answer | undefined> {
    const { rateLimits, origins, authenticator } = this.#options
    const withCookies = authenticator.readsCookies && origins.trustsCookies(request)
    const cors = origins.allows(request) ? corsHeaders(request, withCookies) : undefined
    const segments = request.path.split('/')
    const pattern = this.#match(segments)
    try {
      rateLimits.expectFit(request)
      rateLimits.charge(rateLimits.addressOf(request))
      expectHost(request, this.#options.hosts)
      if (cors === undefined && !isForAll(request, pattern)) origins.expect(request)
      const headers = { ...guards, ...cors }
      const answer = await this.#dispatch(request, exchange, { segments, pattern, headers })
      return answer && { ...answer, headers: { ...guards, ...answer.headers, ...cors } }
    } catch (error) {
      const problem = problemOf(error, this.#options.report)
      const answer = isOfPerson(request) ? problemPage(problem) : problem
      const last = error instanceof UnclearLength
      return { ...answer, headers: { ...guards, ...answer.headers, ...cors }, ...(last && { last }) }
    }
  }

  async #dispatch(
    request: Request,
    exchange: Exchange,
    { segments, pattern, headers }: Matched,
  ): Promise<Answer | undefined> {
    if (pattern === undefined) {
      throw new ProtocolError('notFound', `There is nothing at ${request.path.slice(0, 200)}.`)
    }
    if (request.method === 'OPTIONS') return options(request, pattern)
    const route = pattern.methods.get((request.method === 'HEAD' ? 'GET' : request.method) as Method)
    if (route === undefined) return this.#wrongMethod(request, pattern)
    if (this.#options.closing() && route.whileClosing !== true) throw shuttingDown()
    // Checked first, so that a client without permission learns only that a token is needed.
    const grant = route.access.kind === 'open' ? unlocked : await this.#options.authenticator.grantOf(request)
    if (grant.holder !== '') this.#options.rateLimits.charge(grant.holder)
    const params = paramsOf(pattern.segments, segments, this.#options.limits, route.foreignIds === true)
    const head: RequestHead = {
      request,
      query: new URLSearchParams(request.query),
      param(name) {
        const value = params.get(name)
        assert(value !== undefined, `${route.path} has no {${name}}`)
        return value
      },
    }
    const topic = grant.use((permissions) => permittedTopic(route.access, head, permissions))
    expectKnownQuery(route, head.query)
    const sender = grant.holder === '' ? this.#options.rateLimits.addressOf(request) : grant.holder
    const { param, query } = head
    const answer = await route.answer({
      request,
      exchange,
      query,
      // As for answers below; also prevents proxies from holding parts back for compression.
      headers: grant === unlocked ? headers : { ...headers, 'cache-control': 'no-store, no-transform' },
      sender,
      use: (task) => grant.use((permissions) => task({ topic, param, permissions, grant })),
    })
    // If the token has ended meanwhile, the result of a read is withheld. Completed changes are acknowledged.
    if (answer !== undefined && route.method === 'GET') grant.use(() => {})
    if (answer === undefined || grant === unlocked || grant === unlockedElsewhere) return answer
    // Caches must not store answers that required a token.
    return { ...answer, headers: { ...answer.headers, 'cache-control': 'no-store' } }
  }

  #match(segments: readonly string[]): Pattern | undefined {
    const patterns = this.#patterns[Math.min(segments.length, this.#patterns.length - 1)] ?? []
    return patterns.find((pattern) => fits(pattern.segments, segments))
  }

  #wrongMethod(request: Request, pattern: Pattern): Answer {
    const allow = allowOf(pattern)
    const error = new ProtocolError(
      'methodNotAllowed',
      `${request.path.slice(0, 200)}: expected ${allow}, got ${request.method.slice(0, 20)}`,
    )
    const answer = problemOf(error, this.#options.report)
    return { ...answer, headers: { ...answer.headers, allow } }
  }
}

/** Whether pages of any origin may read the answer. */
function isForAll({ method }: Request, pattern: Pattern | undefined): boolean {
  return pattern?.methods.get((method === 'HEAD' ? 'GET' : method) as Method)?.anyOrigin === true
}

/** Whether a browser asks for a page: programs that ask for what is under `/api/` get problem documents. */
function isOfPerson({ method, path, headers }: Request): boolean {
  return (
    method === 'GET' && !/^\/(api|v1)(\/|$)/.test(path) && /\btext\/html\b/.test(headers.get('accept') ?? '')
  )
}

/**
 * @returns the topic of the route
 * @throws ProtocolError `forbidden`
 */
function permittedTopic(access: Access, head: RequestHead, permissions: Permissions): TopicName {
  switch (access.kind) {
    case 'open':
    case 'any':
      return { kind: 'hub' }
    case 'hub':
      if (permissions.readsHub) return { kind: 'hub' }
      throw new ProtocolError('forbidden', 'the token does not permit reading hub')
    case 'operate':
      if (permissions.readsAll) return { kind: 'hub' }
      throw new ProtocolError('forbidden', 'the token does not permit reading hub and **')
    default: {
      const name = access.topic(head)
      const readsInstead = access.kind === 'either' && !permissions.mayWrite(name)
      if (access.kind === 'read' || readsInstead) permissions.expectRead(name)
      else if (access.kind === 'command') permissions.expectCommand(name)
      else permissions.expectWrite(name)
      return name
    }
  }
}

/** @throws ProtocolError `badFrame` for an unknown parameter, which would otherwise be ignored */
export function expectKnownQuery({ query: known }: Pick<Route, 'query'>, query: URLSearchParams): void {
  if (known === undefined || query.has('dialect')) return
  for (const name of query.keys()) {
    if (known.includes(name) || everywhere.includes(name)) continue
    throw refusal('query', `no parameter but ${[...known, ...everywhere].join(', ')}`, name)
  }
}

/** Parameters of every URL, for clients that cannot set headers. */
const everywhere: readonly string[] = ['token', 'ticket']

function allowOf({ methods }: Pattern): string {
  const all = [...methods.keys(), ...(methods.has('GET') ? ['HEAD'] : []), 'OPTIONS']
  return all.join(', ')
}

function options(request: Request, pattern: Pattern): Answer {
  const allow = allowOf(pattern)
  const preflight = request.headers.has('access-control-request-method')
  return { status: 204, headers: { allow, ...(preflight ? preflightHeaders(request, allow) : {}) } }
}
