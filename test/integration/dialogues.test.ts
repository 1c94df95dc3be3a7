import { readFileSync } from 'node:fs'
import t from 'tap'
import { WebSocket } from 'ws'
import type { JsonObject } from '../../src/lib/json.js'
import { Meanings, parseDialogues } from '../kit/dialogue.js'
import { served } from '../kit/served.js'

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')

/** A connection of a dialogue: what came and was not read yet. */
class Speaker {
  readonly #socket: WebSocket
  readonly #inbox: JsonObject[] = []
  #wake: (() => void) | undefined

  constructor(url: string) {
    this.#socket = new WebSocket(url, 'runcast.v1.json')
    this.#socket.on('message', (bytes: Buffer) => {
      this.#inbox.push(JSON.parse(bytes.toString()) as JsonObject)
      this.#wake?.()
    })
  }

  async hear(): Promise<JsonObject> {
    while (this.#inbox.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    return this.#inbox.shift() as JsonObject
  }

  say(frame: JsonObject): void {
    this.#socket.send(JSON.stringify(frame))
  }

  close(): void {
    this.#socket.terminate()
  }
}

for (const { heading, line, lines } of parseDialogues(page)) {
  t.test(`the dialogue under "${heading}" at line ${line} is what the hub says`, async (t) => {
    const { url } = await served(t)
    const speakers = new Map<string, Speaker>()
    const meanings = new Meanings()
    t.teardown(() => speakers.forEach((speaker) => speaker.close()))
    for (const { from, connection, frame } of lines) {
      let speaker = speakers.get(connection)
      if (speaker === undefined) {
        speaker = new Speaker(`${url.replace('http', 'ws')}/api/ws`)
        speakers.set(connection, speaker)
        const welcome = await speaker.hear()
        if (frame['type'] === 'welcome') {
          t.same(meanings.compare(frame, welcome), [])
          continue
        }
      }
      if (from === 'client') speaker.say(meanings.fill(frame))
      else {
        const came = await speaker.hear()
        t.same(meanings.compare(frame, came), [], JSON.stringify(came))
      }
    }
  })
}
