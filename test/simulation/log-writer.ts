import assert from 'node:assert/strict'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import type { SimulatedClock } from '../kit/clock.js'
import type { SeededRandom } from '../kit/random.js'
import { randomOf, secretsOf } from '../kit/secrets.js'
import { type Counts, type Place, sessionIds, type Truth } from './log-publishers.js'

/** A pause within a secret after which its beginning may be published. Milliseconds, a little less than the hubs wait. */
const pauseMs = 190

/** What is joined where it comes late. */
export const textType = 'llm_text_delta'

const secrets = secretsOf(randomOf(3)).filter(({ kind }) => ['anthropic-key', 'github-token'].includes(kind))

/** A lifetime of a session, between two losses of the log. */
export type Lifetime = (session: string) => string

/** A text with a secret in it, in pieces. */
interface Text {
  readonly session: string
  readonly key: string
  readonly before: string
  readonly secret: string
  readonly after: string
  readonly pieces: readonly string[]
  readonly lifetime: string
  /** When each piece was submitted first, and when it was acknowledged. */
  readonly asked: number[]
  readonly answered: number[]
}

/** Publishes texts piece by piece, at one hub or now at one and then at another; what is not answered is repeated. */
export class LogWriter {
  readonly #random: SeededRandom
  readonly #clock: SimulatedClock
  readonly #places: readonly Place[]
  readonly #counts: Counts
  readonly #lifetimeOf: Lifetime
  readonly #name: string
  #text: Text | undefined = undefined
  #place: Place
  /** The life of the hub that was asked and has not answered. */
  #asked: { readonly place: Place; readonly life: number } | undefined = undefined
  #number = 0
  #done: Text[] = []

  constructor(
    name: string,
    {
      random,
      clock,
      places,
      counts,
      lifetimeOf,
    }: {
      readonly random: SeededRandom
      readonly clock: SimulatedClock
      readonly places: readonly Place[]
      readonly counts: Counts
      readonly lifetimeOf: Lifetime
    },
  ) {
    this.#name = name
    this.#random = random
    this.#clock = clock
    this.#places = places
    this.#counts = counts
    this.#lifetimeOf = lifetimeOf
    this.#place = random.pick(places)
  }

  get isIdle(): boolean {
    return this.#text === undefined
  }

  /** Goes on with the text, or begins one. @param begins whether it may begin one */
  write(begins: boolean): void {
    if (this.#asked !== undefined && this.#asked.life === this.#asked.place.life) return
    if (this.#text === undefined && !begins) return
    this.#text ??= this.#begun()
    if (this.#random.chance(0.3)) this.#place = this.#random.pick(this.#places)
    const text = this.#text
    const index = text.answered.length
    const { session, key } = text
    const event: NewEvent = {
      type: textType,
      id: `${key}-${index}`,
      key,
      data: { content: text.pieces[index] as string },
    }
    const asked = { place: this.#place, life: this.#place.life }
    this.#asked = asked
    if (text.asked.length === index) text.asked.push(this.#clock.now())
    // An event of the same publisher that is no text would end the text, so the writer is a worker of its own.
    const topic = `sessions/${session}/workers/${this.#name}`
    asked.place.hub.submit(topic, [event]).then(
      () => {
        if (this.#asked !== asked) return
        this.#asked = undefined
        text.answered.push(this.#clock.now())
        if (text.answered.length === text.pieces.length) this.#end(text)
      },
      (error: unknown) => {
        if (this.#asked !== asked) return
        this.#asked = undefined
        // The session has ended: nothing is known of the rest.
        if (!(error instanceof ProtocolError && error.code === 'unavailable')) this.#text = undefined
      },
    )
  }

  #end(text: Text): void {
    this.#text = undefined
    this.#done.push(text)
  }

  #begun(): Text {
    const random = this.#random
    const key = `${this.#name}-${this.#number++}`
    const { secret } = random.pick(secrets)
    const [before, after] = [`${key} begins `, ' and ends']
    const whole = before + secret + after
    const pieces: string[] = []
    for (let at = 0; at < whole.length; ) {
      const length = random.integer(3, 40)
      pieces.push(whole.slice(at, at + length))
      at += length
    }
    const session = random.pick(sessionIds)
    const lifetime = this.#lifetimeOf(session)
    return { session, key, before, secret, after, pieces, lifetime, asked: [], answered: [] }
  }

  /** Every text is complete, and its secret is masked unless there was a pause in it. */
  check(session: string, { events }: Truth): void {
    const sent = new Map<string, string>()
    for (const [, { type, key = '', data }] of [...events].sort(([a], [b]) => a - b)) {
      if (type !== textType) continue
      sent.set(key, (sent.get(key) ?? '') + (data as { content: string }).content)
    }
    for (const text of this.#done) {
      if (text.session !== session || this.#lifetimeOf(session) !== text.lifetime) continue
      this.#check(text, sent.get(text.key) ?? '')
    }
  }

  #check({ key, before, secret, after, asked, answered }: Text, sent: string): void {
    assert(sent.startsWith(before) && sent.endsWith(after), `${key}: ${sent} is not ${before}…${after}`)
    const found = sent.slice(before.length, sent.length - after.length)
    const [, first = '', last = ''] = /^(.*)\[secret:[a-z-]+(?::\d+)?\](.*)$/.exec(found) ?? []
    const isMasked = found !== secret
    if (isMasked) {
      assert(first.length <= 2 && secret.startsWith(first), `${key}: ${found} begins too late`)
      assert(secret.endsWith(last) && last.length < secret.length - 8, `${key}: ${found} ends too early`)
    }
    const pauses = answered.slice(1).map((at, index) => at - (asked[index] as number))
    if (pauses.some((ms) => ms >= pauseMs)) return
    this.#counts.masked++
    assert(isMasked && last === '', `${key}: ${found} has a part of the secret`)
  }
}
