import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { distOf, regressionsIn } from '../../bench/harness/against.js'

t.test('a figure is a regression only if its least is above the greatest of the other build', async (t) => {
  const rows = [
    { conns: 10, who: 'limit', 'cpu µs': 1, ratio: '' },
    { conns: 10, who: 'runcast', 'cpu µs': 9, ratio: '2.00 (1.61–2.50)', 'flat ratio': '1.20 (1.00–1.40)' },
    { conns: 10, who: 'against', 'cpu µs': 1, ratio: '1.50 (1.20–1.60)', 'flat ratio': '1.10 (0.90–1.01)' },
    { conns: 1000, who: 'limit', 'cpu µs': 1, ratio: '' },
    { conns: 1000, who: 'runcast', 'cpu µs': 1, ratio: '1.00 (0.90–1.10)' },
    { conns: 1000, who: 'against', 'cpu µs': 1, ratio: '2.00 (1.90–2.10)' },
    { conns: 1000, who: 'runcast lmdb', 'cpu µs': 1, ratio: '3.00 (2.90–3.10)' },
    { conns: 1000, who: 'against lmdb', 'cpu µs': 1, ratio: '2.00 (1.90–2.10)' },
    { conns: 1000, who: 'against other', 'cpu µs': 1, ratio: '1.00 (0.90–1.10)' },
  ]
  t.same(regressionsIn(rows), [
    {
      who: 'runcast',
      column: 'ratio',
      cell: 'conns 10',
      now: '2.00 (1.61–2.50)',
      before: '1.50 (1.20–1.60)',
    },
    {
      who: 'runcast lmdb',
      column: 'ratio',
      cell: 'conns 1000',
      now: '3.00 (2.90–3.10)',
      before: '2.00 (1.90–2.10)',
    },
  ])
  t.same(regressionsIn(rows.slice(0, 2)), [])
})

t.test('another build is a folder or a commit', async (t) => {
  const dist = t.testdir()
  mkdirSync(join(dist, 'hub'))
  writeFileSync(join(dist, 'hub/hub.js'), '')
  t.equal(
    distOf(dist, () => t.fail('nothing is built')),
    dist,
  )
  for (const named of ['no-such-commit', '--all', 'HEAD:src']) {
    t.throws(() => distOf(named, () => t.fail('nothing is built')), {
      message: `--against: expected a dist folder or a commit, got ${named}`,
    })
  }
})
