import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { bundle, launch, skip as noBrowser, openWith } from '../kit/chromium.js'
import { served } from '../kit/served.js'

/* The client of Durable Streams in a browser, against the hub. */

const client = fileURLToPath(new URL('node_modules/@durable-streams/client/dist/index.js', import.meta.url))
const skip = existsSync(client) ? noBrowser : 'npm ci --prefix test/durable-streams'

const tsx = `
  import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'

  const url = location.origin + '/v1/stream/chat/42'

  const readers = ['sse', 'long-poll'].map((live) => ({ live, items: [], done: false }))

  async function read(reader) {
    const response = await stream({ url, offset: '-1', live: reader.live })
    for await (const item of response.jsonStream()) reader.items.push(item)
    reader.done = true
  }

  export async function talk(count) {
    const handle = await DurableStream.create({ url, contentType: 'application/json' })
    const reading = readers.map(read)
    const failed = []
    const producer = new IdempotentProducer(handle, 'page', {
      autoClaim: true,
      lingerMs: 0,
      maxBatchBytes: 200,
      onError: (error) => failed.push(String(error)),
    })
    for (let n = 0; n < count; n++) {
      producer.append(JSON.stringify({ n }))
      if (n % 20 === 0) await producer.flush()
    }
    await producer.flush()
    await producer.close()
    await Promise.all(reading)
    return { failed, readers }
  }`

interface Talk {
  readonly failed: readonly string[]
  readonly readers: readonly { readonly live: string; readonly items: readonly { readonly n: number }[] }[]
}

t.test('a page writes with a producer, and reads all of it live until it is closed', { skip }, async (t) => {
  // Responses end often, so that the client has to go on where it was.
  const { hub, url } = await served(t, { hub: { limits: { durableSseMs: 100, longPollMs: 100 } } })
  const script = await bundle({ tsx }, { '@durable-streams/client': client })
  const { page, complaints } = await openWith(t, await launch(t), { url, script })
  const count = 200
  const { failed, readers } = await page.evaluate<Talk>(`bundle.talk(${count})`)
  t.strictSame(failed, [])
  for (const { live, items } of readers) {
    t.strictSame(
      items.map(({ n }) => n),
      Array.from({ length: count }, (_, n) => n),
      live,
    )
  }
  t.equal(hub.find('~~chat~2F42')?.status, 'ended')
  // A 409 tells the producer that a request came before its predecessor; browsers log it.
  t.strictSame(
    complaints.filter((text) => !text.includes('409')),
    [],
  )
})
