import t from 'tap'
import { Bucket, Buckets } from '../../src/lib/bucket.js'

const rate = { perSecond: 10, burst: 5 }

t.test('gives a burst at once, and then as much as time brings', async (t) => {
  const bucket = new Bucket(rate, 0)
  t.equal(bucket.take(5, 0), 0)
  t.equal(bucket.take(1, 0), 100)
  t.equal(bucket.take(1, 99), 1)
  t.equal(bucket.take(1, 100), 0)
  t.equal(bucket.take(2, 100), 200)
  t.equal(bucket.isFull(599), false)
  t.equal(bucket.isFull(600), true)
  t.equal(bucket.take(5, 1_000_000), 0, 'no more than the burst is saved up')
  t.equal(bucket.take(1, 1_000_000), 100)
})

t.test('what is spent beyond it is made up for', async (t) => {
  const bucket = new Bucket(rate, 0)
  t.equal(bucket.spend(5, 0), 0)
  t.equal(bucket.spend(20, 0), 2_000)
  t.equal(bucket.spend(0, 1_999), 1)
  t.equal(bucket.spend(0, 2_000), 0)
  t.equal(bucket.take(1, 2_000), 100)
})

t.test('a clock that is set back gives nothing, and takes nothing', async (t) => {
  const bucket = new Bucket(rate, 1_000)
  t.equal(bucket.take(5, 1_000), 0)
  t.equal(bucket.take(1, 0), 100)
  t.equal(bucket.take(1, 100), 0)
})

t.test('names have buckets of their own, and those that are full are forgotten first', async (t) => {
  const buckets = new Buckets(rate, 2)
  t.equal(buckets.take('a', 5, 0), 0)
  t.equal(buckets.take('b', 1, 0), 0)
  t.equal(buckets.take('c', 5, 100), 0)
  t.equal(buckets.size, 2)
  t.equal(buckets.take('a', 5, 100), 400, 'b was full again')
  t.equal(buckets.take('d', 1, 100), 0)
  t.equal(buckets.size, 2)
})
