import { type Script, script } from './scripts.js'

/** Removed sessions that are told of; who asks more seldom asks for all. */
const removedMax = 10_000

/*
 * What hubs say of all sessions is in one slot, so that it has one order. Keys: 1 era · 2 descriptions (hash: session, text
 * of epoch, offset and description) · 3 sessions by the mark of their last change · 4 removed sessions by mark.
 *
 * A mark is in microseconds, and above all others, so that who reads on after one misses none.
 */
const marking = `
local function mark()
  local now = redis.call('TIME')
  local next = now[1] * 1000000 + now[2]
  for key = 3, 4 do
    local newest = redis.call('ZRANGE', KEYS[key], 0, 0, 'REV', 'WITHSCORES')[2]
    if newest then next = math.max(next, tonumber(newest) + 1) end
  end
  return string.format('%.0f', next)
end`

/** ARGV: 2 session · 3 epoch · 4 offset · 5 description. */
const describe = script(
  marking,
  `
local kept = redis.call('HGET', KEYS[2], ARGV[2])
if kept then
  local epoch, offset = string.match(kept, '^(%S+) (%d+) ')
  if epoch == ARGV[3] and tonumber(offset) > tonumber(ARGV[4]) then return 0 end
end
local next = mark()
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
redis.call('ZADD', KEYS[3], next, ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
return 1`,
)

/** ARGV: 2 session. */
const forget = script(
  marking,
  `
if redis.call('HDEL', KEYS[2], ARGV[2]) == 0 then return 0 end
local next = mark()
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], next, ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -${removedMax + 1})
return 1`,
)

/** ARGV: 2 mark · 3 how many. Answers how many sessions there are, then of each change session, mark, text or nothing. */
const described = script(`
local after, limit = ARGV[2], tonumber(ARGV[3])
local function changes(key)
  return redis.call('ZRANGE', key, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, limit + 1, 'WITHSCORES')
end
local all = {}
for i, list in ipairs({ changes(KEYS[3]), after == '0' and {} or changes(KEYS[4]) }) do
  for j = 1, #list, 2 do all[#all + 1] = { list[j], tonumber(list[j + 1]) } end
end
table.sort(all, function(one, other) return one[2] < other[2] end)
local answer = { redis.call('HLEN', KEYS[2]) }
for i = 1, math.min(#all, limit + 1) do
  local session = all[i][1]
  answer[#answer + 1] = session
  answer[#answer + 1] = string.format('%.0f', all[i][2])
  answer[#answer + 1] = redis.call('HGET', KEYS[2], session) or ''
end
return answer`)

/** ARGV: 2 hub · 3 milliseconds. KEYS: 2 hubs by the time until which they live, by the clock of the engine. */
const living = script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return redis.call('ZRANGE', KEYS[2], 0, -1)`)

export const listScripts: Readonly<Record<'describe' | 'forget' | 'described' | 'living', Script>> = {
  living,
  describe,
  forget,
  described,
}
