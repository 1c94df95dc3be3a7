import { request } from 'node:http'
import { pack } from 'msgpackr'
import { WebSocket } from 'ws'
import { Proxy } from '../../test/kit/proxy.js'
import { SeededRandom } from '../../test/kit/random.js'

export interface LoadOptions {
  readonly url: string
  readonly port: number
  readonly seed: number
  /** What the ids of its sessions begin with. */
  readonly prefix: string
  readonly producers: number
  readonly followers: number
}

const types = [
  'llm_text_delta',
  'tool_call_started',
  'client_output_delta',
  'execution_paused',
  'cost',
  'note',
]

/**
 * What a busy hub sees in days, in minutes: sessions that begin, are followed over both transports, and end or are
 * removed; links that come and go, stop reading, are cut anywhere, or turned away.
 */
export class Load {
  readonly #options: LoadOptions
  readonly #random: SeededRandom
  readonly #proxy: Proxy
  /** The sessions that are running. */
  readonly #sessions: string[] = []
  readonly #tasks = new Set<Promise<void>>()
  #stopped = false
  #numbers = 0
  /** What went wrong that should not have. */
  readonly faults: string[] = []
  readonly counts = { sessions: 0, followed: 0, cut: 0, stalled: 0, turnedAway: 0, removed: 0, refused: 0 }

  private constructor(options: LoadOptions, proxy: Proxy) {
    this.#options = options
    this.#random = new SeededRandom(options.seed)
    this.#proxy = proxy
  }

  static async start(options: LoadOptions): Promise<Load> {
    const load = new Load(options, await Proxy.open(options.port))
    for (let number = 0; number < options.producers; number += 1) load.#keepDoing(() => load.#produce())
    for (let number = 0; number < options.followers; number += 1) load.#keepDoing(() => load.#follow())
    load.#keepDoing(() => load.#cut())
    load.#keepDoing(() => load.#knock())
    return load
  }

  /** @returns once nothing is under way any more */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#tasks)
    await this.#proxy.close()
  }

  #keepDoing(task: () => Promise<void>): void {
    const run = async () => {
      while (!this.#stopped) {
        try {
          await task()
        } catch (error) {
          this.faults.push(String(error))
          await pause(100)
        }
      }
    }
    const running = run().finally(() => this.#tasks.delete(running))
    this.#tasks.add(running)
  }

  // Producing

  /** One session from its beginning to its end. */
  async #produce(): Promise<void> {
    this.#numbers += 1
    const id = `${this.#options.prefix}-${this.#numbers}`
    this.#sessions.push(id)
    this.counts.sessions += 1
    const turns = this.#random.integer(5, 40)
    for (let turn = 0; turn < turns && !this.#stopped; turn += 1) {
      await this.#publish(id, turn)
      if (this.#random.chance(0.5)) await this.#setState(id, turn)
      await pause(this.#random.integer(1, 40))
    }
    this.#sessions.splice(this.#sessions.indexOf(id), 1)
    if (this.#random.chance(0.2)) {
      this.counts.removed += 1
      await this.#ask('DELETE', `/api/sessions/${id}`)
    } else await this.#ask('POST', `/api/sessions/${id}/end`, '{"outcome":"done"}')
  }

  #publish(id: string, turn: number): Promise<void> {
    const worker = this.#random.chance(0.6) ? `/workers/w${this.#random.integer(1, 5)}` : ''
    const lines = Array.from({ length: this.#random.integer(1, 60) }, (_, index) =>
      JSON.stringify({
        type: this.#random.pick(types),
        id: `${turn}-${index}`,
        data: { content: 'x'.repeat(this.#random.integer(1, 400)), turn, index },
      }),
    )
    const type = 'application/x-ndjson'
    return this.#ask('POST', `/api/sessions/${id}${worker}/events`, lines.join('\n'), type)
  }

  #setState(id: string, turn: number): Promise<void> {
    const plan = Array.from({ length: this.#random.integer(1, 30) }, (_, step) => ({
      step,
      done: step < turn,
    }))
    return this.#ask('PUT', `/api/sessions/${id}/state/plan`, JSON.stringify({ turn, plan }))
  }

  async #ask(method: string, path: string, body?: string, type = 'application/json'): Promise<void> {
    const response = await fetch(this.#options.url + path, {
      method,
      ...(body !== undefined && { body, headers: { 'content-type': type } }),
    })
    const text = await response.text()
    if (response.ok) return
    this.counts.refused += 1
    throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 200)}`)
  }

  // Following

  /** One link, from its beginning to its end. */
  async #follow(): Promise<void> {
    this.counts.followed += 1
    const lifeMs = this.#random.integer(50, 4_000)
    const stalls = this.#random.chance(0.15)
    if (stalls) this.counts.stalled += 1
    const port = this.#random.chance(0.5) ? this.#proxy.port : this.#options.port
    const life = { port, lifeMs, stalls }
    await (this.#random.chance(0.5) ? this.#overWebSocket(life) : this.#overSse(life))
  }

  async #overWebSocket({ port, lifeMs, stalls }: Life): Promise<void> {
    const binary = this.#random.chance(0.5)
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/ws`, [
      `runcast.v1.${binary ? 'msgpack' : 'json'}`,
    ])
    const send = (frame: object) => socket.send(binary ? pack(frame) : JSON.stringify(frame))
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => undefined)
    socket.on('message', () => undefined)
    socket.once('open', () => {
      const subscriptions = this.#random.integer(1, 8)
      for (let sub = 1; sub <= subscriptions; sub += 1) {
        send({ type: 'subscribe', sub, topic: this.#topic(), ...this.#filter() })
      }
      send({ type: 'subscribe', sub: 99, topic: 'hub', slices: ['*'] })
      if (this.#random.chance(0.3)) send({ type: 'update', sub: 1, ...this.#filter() })
      if (stalls) socket.pause()
    })
    await Promise.race([closed, pause(lifeMs)])
    if (this.#random.chance(0.5)) socket.terminate()
    else {
      socket.resume()
      socket.close()
      await Promise.race([closed, pause(2_000)])
      socket.terminate()
    }
    await closed
  }

  async #overSse({ port, lifeMs, stalls }: Life): Promise<void> {
    const topics = Array.from({ length: this.#random.integer(1, 4) }, () => `topic=${this.#topic()}`)
    const path = `/api/stream?${topics.join('&')}&slices=*${this.#random.chance(0.5) ? '&mode=summary' : ''}`
    const asked = request({ host: '127.0.0.1', port, path, agent: false })
    const closed = new Promise<void>((resolve) => asked.once('close', () => resolve()))
    asked.on('error', () => undefined)
    asked.on('response', (response) => {
      response.on('error', () => undefined)
      if (!stalls) response.resume()
    })
    asked.end()
    await Promise.race([closed, pause(lifeMs)])
    asked.destroy()
    await closed
  }

  /** Some strangers at once, of a page that the hub does not know: each is told so, and let go. */
  async #knock(): Promise<void> {
    await pause(this.#random.integer(20, 300))
    const strangers = this.#random.integer(1, 40)
    await Promise.all(Array.from({ length: strangers }, () => this.#beTurnedAway()))
    this.counts.turnedAway += strangers
  }

  #beTurnedAway(): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#options.port}/api/ws`, {
      origin: 'http://elsewhere.example',
    })
    return new Promise((resolve, reject) => {
      socket.on('error', reject)
      socket.on('open', () => reject(new Error('a stranger got in')))
      socket.on('unexpected-response', (_, { statusCode, socket: link }) => {
        link.once('close', () => resolve())
        link.resume()
        if (statusCode !== 403) reject(new Error(`a stranger was answered ${statusCode}`))
      })
    })
  }

  #topic(): string {
    const id = this.#sessions.length > 0 ? this.#random.pick(this.#sessions) : 'none'
    if (this.#random.chance(0.4)) return `sessions/${id}`
    return this.#random.chance(0.5)
      ? `sessions/${id}/**`
      : `sessions/${id}/workers/w${this.#random.integer(1, 5)}`
  }

  #filter(): object {
    return {
      ...(this.#random.chance(0.5) && {
        types: [this.#random.pick(types), `${this.#random.pick(['a', 'l'])}*`],
      }),
      ...(this.#random.chance(0.3) && { mode: this.#random.pick(['full', 'summary', 'control', 'silent']) }),
      ...(this.#random.chance(0.5) && { slices: ['*'] }),
    }
  }

  /** Cuts a link anywhere, or leaves both its ends believing that the other is there. */
  async #cut(): Promise<void> {
    await pause(this.#random.integer(20, 300))
    const { links } = this.#proxy
    if (links.length === 0) return
    const link = this.#random.pick(links)
    this.counts.cut += 1
    if (this.#random.chance(0.2)) {
      link.halfOpen()
      await pause(this.#random.integer(100, 2_000))
    }
    link.cut()
  }
}

interface Life {
  readonly port: number
  readonly lifeMs: number
  readonly stalls: boolean
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
