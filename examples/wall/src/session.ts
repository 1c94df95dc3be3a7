import type { BuiltInCatalog, Client, JsonObject } from '@runcast/client'
import { Tile } from './tile.ts'

/** The types whose text a tile shows. */
const types = ['process.output', 'client_output_delta', 'tool_call_started', 'error'] as const

/** The tiles of one session, one for each worker, as long as the session is on the wall. */
export class SessionTiles {
  readonly #id: string
  readonly #wall: HTMLElement
  readonly #tiles = new Map<string, Tile>()
  readonly #subscriptions: readonly { close(): void }[]

  constructor(client: Client<BuiltInCatalog>, id: string, wall: HTMLElement) {
    this.#id = id
    this.#wall = wall
    const topic = `sessions/${id}`
    this.#subscriptions = [
      // What became of each worker.
      client.subscribe(
        { topic, types: ['!*'], slices: ['$workers'] },
        { onEvent() {}, onState: ({ $workers }) => this.#mark(($workers ?? {}) as JsonObject) },
      ),
      // What they say, in one order, from the newest 50 events on.
      client.subscribe(
        { topic: `${topic}/**`, types, last: 50 },
        {
          onEvent: (event) => {
            // The end of the session, which passes every filter.
            if (event.type === 'complete') return
            const tile = this.#tile(event.worker ?? '')
            if (event.type === 'process.output') tile.append(event.data.text)
            else if (event.type === 'client_output_delta') tile.append(event.data.content)
            else if (event.type === 'tool_call_started') tile.append(`\n▸ ${event.data.tool_name}\n`)
            else if (event.type === 'error') tile.append(`\n${event.data.error}\n`)
          },
          onGap: () => this.#tiles.forEach((tile) => tile.append('\n… something is missing here …\n')),
        },
      ),
    ]
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.close()
    for (const tile of this.#tiles.values()) tile.remove()
  }

  #mark(workers: JsonObject): void {
    for (const [worker, about] of Object.entries(workers)) {
      const { status, result, needs } = about as {
        status: string
        result?: string
        needs?: readonly unknown[]
      }
      this.#tile(worker).mark(needs?.length ? 'needs you' : (result ?? status))
    }
  }

  #tile(worker: string): Tile {
    let tile = this.#tiles.get(worker)
    if (tile === undefined) {
      tile = new Tile(this.#wall, worker === '' ? this.#id : `${this.#id} / ${worker}`)
      this.#tiles.set(worker, tile)
    }
    return tile
  }
}
