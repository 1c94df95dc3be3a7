// Suites of the single hub, unchanged, over a log: in Redis where it is installed, in memory otherwise. RUNCAST_LOG runs any
// other file so: `RUNCAST_LOG=redis npm test -- test/integration/dialects.test.ts`.

import { missingRedis } from '../kit/redis.js'

// Read once, when the suites are loaded.
process.env['RUNCAST_LOG'] ??= missingRedis() === undefined ? 'redis' : 'memory'
await import('../server/links/stream.test.js')
await import('../server/links/stream-many.test.js')
await import('../server/http/state.test.js')
await import('./dialogues.test.js')
