import type { PanelEvent, PanelMode } from './model.js'
import type { HubRequests, Query } from './requests.js'

/** Events of one topic, as the hub retains them, and whether there are more in that direction. */
export interface Page {
  readonly events: readonly PanelEvent[]
  readonly end: boolean
}

/** The filter for events of a topic. */
export interface Chosen {
  readonly patterns: readonly string[]
  readonly mode: PanelMode
  /** A text, or an expression between slashes. */
  readonly q?: string
  readonly errors?: boolean
}

/** Where a page begins: at the events that precede an offset, the newest first, or those that follow it. */
export type From = { readonly before: number } | { readonly after: number }

const levels: Readonly<Record<string, string>> = { summary: 'summary,control', control: 'control' }
/** One request looks at a bounded number of events, and may find none of them. */
const requestsMax = 200

/** The retained events of one topic. */
export class TopicHistory {
  readonly #requests: HubRequests
  readonly #topic: string
  /** Of the offsets. */
  epoch = ''

  constructor(requests: HubRequests, topic: string) {
    this.#requests = requests
    this.#topic = topic
  }

  /** @returns up to `limit` events in the order of their offsets; none only where there are no more */
  async page(chosen: Chosen, from: From, limit: number, signal?: AbortSignal): Promise<Page> {
    const events: PanelEvent[] = []
    for await (const page of this.pages(chosen, from, limit, signal)) {
      events.push(...page.events)
      if (events.length > 0 || page.end) {
        return { events: events.toSorted((one, other) => one.offset - other.offset), end: page.end }
      }
    }
    return { events, end: false }
  }

  /** One page after the other until there are no more. */
  async *pages(chosen: Chosen, from: From, limit: number, signal?: AbortSignal): AsyncGenerator<Page> {
    if (this.epoch === '') await this.#learnEpoch(signal)
    const isBack = 'before' in from
    const { patterns, mode, q, errors } = chosen
    let cursor: string = `${this.epoch}:${isBack ? from.before : from.after}`
    for (let requests = 0; requests < requestsMax; requests += 1) {
      const query: Query = {
        [isBack ? 'before' : 'after']: cursor,
        order: isBack ? 'desc' : 'asc',
        limit,
        types: patterns.length === 0 ? undefined : patterns.join(','),
        level: levels[mode],
        q,
        errors: errors === true ? 1 : undefined,
      }
      const page = await this.#requests.get(`api/${this.#topic}/history`, query, signal)
      const { next } = page
      const events = Array.isArray(page['events']) ? (page['events'] as unknown as PanelEvent[]) : []
      yield { events, end: typeof next !== 'string' }
      if (typeof next !== 'string') return
      cursor = next
    }
  }

  async #learnEpoch(signal: AbortSignal | undefined): Promise<void> {
    const { epoch } = await this.#requests.get(`api/${this.#topic}/history`, { limit: 1 }, signal)
    this.epoch = typeof epoch === 'string' ? epoch : ''
  }
}
