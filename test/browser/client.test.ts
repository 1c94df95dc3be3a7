import t from 'tap'
import { clientSuite, type Far, ways } from '../conformance/client.js'
import { bundle, launch, openWith, skip } from '../kit/chromium.js'
import { farHub } from '../kit/far-hub.js'

const seed = Number(process.env.SEED ?? 20_251)

t.test('the client in Chromium', { skip }, async (t) => {
  const browser = await launch(t)
  const script = await bundle('test/conformance/client.ts')
  for (const [way, options] of Object.entries(ways)) {
    t.test(way, async (t) => {
      t.comment(`SEED=${seed}`)
      for (const name of Object.keys(clientSuite)) {
        t.test(name, async (t) => {
          const { url, far } = await farHub(t)
          const { page } = await openWith(t, browser, { url, script })
          await page.exposeFunction('farCall', (called: keyof Far, args: never[]) =>
            (far[called] as (...args: never[]) => Promise<unknown>)(...args),
          )
          const asked = { name, url, seed, cuts: 10, ...options }
          await t.resolves(page.evaluate(`bundle.runInPage(${JSON.stringify(asked)})`))
        })
      }
    })
  }
})
