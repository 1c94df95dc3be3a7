// Longer than 350 lines: what the engine does, in one place; each script takes from the ones before.

import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

/** @returns a script of the parts, one after the other */
export function script(...parts: readonly string[]): Script {
  const text = parts.join('\n')
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/*
 * Keys of a session: 1 era of its shard · 2 head · 3 what is rarely needed (hash) · 4 critical and 5 droppable batches
 * (streams, the id of an entry is the last offset of its newest batch) · 6 ids (sorted set: id, offset) · 7 ids of sessions.
 *
 * The head is one string: epoch, last, era, status (n: only mentioned, a: active, e: ended), whole, offset of the
 * checkpoint, bytes after it, whether ids have left (0 or 1), and for the age of ids: second of the mark, the offset that
 * had been reached then, and at the mark before.
 *
 * An entry of a lane: n, offsets that its batches take; b, their bytes; k, places of what was published before.
 *
 * Every script checks before it writes, and writes nothing when it refuses.
 */

/** Ids that a session remembers. Seconds that they are remembered at least, where they are no more than that. */
export const idsMax = 10_000
const idSeconds = 3_600
/** Ids that leave by their age at once. */
const idsAtOnce = 1_000
/** As in `FormerIds`: the first ids that left, and a sample of the others. */
const firstMax = 100
const sampleMax = 2_000
/** Of a SHA-1, in hexadecimal: 52 bits. */
const hashChars = 13
/** Lost ranges that are remembered, and what one answer to `since` brings. */
const lostMax = 16
const sinceEntriesMax = 4_000
const sinceBytesMax = 8 << 20
/** Since 1970, in seconds: 2025. */
const erasBegin = 1_735_689_600
const offsetsPerMicrosecond = 4

const numbers = `
local function num(n) return string.format('%.0f', n) end`

/** ARGV: the newest era that the hub knows, and what is to be published on the channel of KEYS 2, or nothing. */
const hello = script(
  numbers,
  `
local lineage = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local kept = redis.call('GET', KEYS[1])
local number, of = '0', ''
if kept then number, of = string.match(kept, '^(%d+) (%S+)$') end
if of ~= lineage then
  local now = redis.call('TIME')
  local age = (now[1] - ${erasBegin}) * 1000000 + now[2]
  number = num(math.max(age, number + 1, ARGV[1] + 1))
  redis.call('SET', KEYS[1], number .. ' ' .. lineage)
end
if ARGV[2] ~= '' then redis.call('SPUBLISH', KEYS[2], ARGV[2]) end
return number`,
)

/** ARGV 1: the era. A session of an earlier one goes on above all offsets that could have been given in between. */
const touching = `${numbers}
local era = redis.call('GET', KEYS[1])
if not era or string.match(era, '^%d+') ~= ARGV[1] then return redis.error_reply('ERA say hello first') end
local function keep(h, ...)
  redis.call('SET', KEYS[2], table.concat({ h.epoch, num(h.last), ARGV[1], h.status, num(h.whole), num(h.reached),
    num(h.tail), h.former, num(h.mark), num(h.marked), num(h.before) }, ' '), ...)
end
local function lostOf() return redis.call('HGET', KEYS[3], 'lost') or '' end
local function touched()
  local raw = redis.call('GET', KEYS[2])
  if not raw then return nil end
  local h = {}
  local epoch, last, of, status, whole, reached, tail, former, mark, marked, before =
    string.match(raw, '^(%S+) (%d+) (%d+) (%a) (%d+) (%d+) (%d+) (%d) (%d+) (%d+) (%d+)$')
  h.epoch, h.status, h.former = epoch, status, former
  h.last, h.whole, h.reached, h.tail = tonumber(last), tonumber(whole), tonumber(reached), tonumber(tail)
  h.mark, h.marked, h.before = tonumber(mark), tonumber(marked), tonumber(before)
  if of ~= ARGV[1] then
    local above = math.max(${offsetsPerMicrosecond} * tonumber(ARGV[1]), h.last + 1)
    local list = {}
    for n in string.gmatch(lostOf(), '%d+') do list[#list + 1] = n end
    list[#list + 1], list[#list + 2] = num(h.last), num(above)
    redis.call('HSET', KEYS[3], 'lost', table.concat(list, ' ', math.max(1, #list - ${2 * lostMax - 1})))
    h.last = above
    keep(h, 'KEEPTTL')
  end
  return h
end`

/** What leaves the window of ids is remembered as `FormerIds` does. */
const leaving = `
local function leave(h, names)
  if #names == 0 then return end
  local kept = redis.call('HMGET', KEYS[3], 'first', 'sample', 'left', 'every')
  local first, sample, left, every = kept[1] or '', kept[2] or '', tonumber(kept[3] or '0'), tonumber(kept[4] or '1')
  local firsts, samples = { first }, { sample }
  local f, s = #first / ${hashChars}, #sample / ${hashChars}
  for _, name in ipairs(names) do
    local function hash() return string.sub(redis.sha1hex(name), 1, ${hashChars}) end
    if f < ${firstMax} then
      f = f + 1
      firsts[#firsts + 1] = hash()
    else
      if left % every == 0 then
        s = s + 1
        samples[#samples + 1] = hash()
        if s > ${sampleMax} then
          local all, half = table.concat(samples), {}
          for i = 0, s - 1, 2 do half[#half + 1] = string.sub(all, i * ${hashChars} + 1, (i + 1) * ${hashChars}) end
          every, s, samples = every * 2, #half, half
        end
      end
      left = left + 1
    end
  end
  redis.call('HSET', KEYS[3], 'first', table.concat(firsts), 'sample', table.concat(samples), 'left', num(left), 'every', num(every))
  h.former = '1'
end
local function aged(h, now)
  if h.mark == 0 then h.mark, h.marked, h.before = now, h.last, 0 end
  if now - h.mark >= ${idSeconds} then h.mark, h.marked, h.before = now, h.last, h.marked end
  if h.before == 0 then return end
  local old = redis.call('ZRANGE', KEYS[6], '-inf', num(h.before), 'BYSCORE', 'LIMIT', 0, ${idsAtOnce})
  if #old < ${idsAtOnce} then h.before = 0 end
  if #old > 0 then redis.call('ZREM', KEYS[6], unpack(old)) end
  leave(h, old)
end`

/**
 * ARGV: 2 epoch · 3 width · 4 whether it ends the session · 5 critical and 6 droppable lane, or nothing · 7 whether an
 * answer without an effect has to be written as well, so that \`WAIT\` covers what it tells of · 8 the base of what is held
 * back, or nothing · 9 whether 10 takes its place · 10 that, or nothing · 11… place and id.
 *
 * Answers 0 (another epoch), 1 from, to, tail, known…; 2 (ended) known…; 3 (left) place; 4 (held) known….
 */
const append = script(
  touching,
  leaving,
  `
local h = touched()
if not h or h.epoch ~= ARGV[2] then return { 0 } end
local from, width = h.last, tonumber(ARGV[3])
local known, places, fresh, added = {}, {}, {}, {}
local function answer(...)
  local all = { ... }
  for _, each in ipairs(known) do all[#all + 1] = each end
  return all
end
for start = 11, #ARGV, 2000 do
  local names = {}
  for i = start, math.min(start + 1998, #ARGV - 1), 2 do names[#names + 1] = ARGV[i + 1] end
  local scores = redis.call('ZMSCORE', KEYS[6], unpack(names))
  for j, name in ipairs(names) do
    local place = tonumber(ARGV[start + 2 * j - 2])
    local offset = tonumber(scores[j] or added[name])
    if offset then
      known[#known + 1], known[#known + 2] = place, offset
      places[#places + 1] = place
    else
      added[name] = from + place + 1
      fresh[#fresh + 1] = name
    end
  end
end
if h.status == 'e' then
  if ARGV[7] == '1' then keep(h) end
  return answer(2)
end
if h.former == '1' and #fresh > 0 then
  local kept = redis.call('HMGET', KEYS[3], 'first', 'sample')
  local has = (kept[1] or '') .. (kept[2] or '')
  local all
  if #fresh > 8 then
    all = {}
    for i = 1, #has, ${hashChars} do all[string.sub(has, i, i + ${hashChars - 1})] = true end
  end
  for i = 11, #ARGV - 1, 2 do
    if added[ARGV[i + 1]] then
      local hash, is = string.sub(redis.sha1hex(ARGV[i + 1]), 1, ${hashChars}), false
      if all then is = all[hash]
      else
        local at = string.find(has, hash, 1, true)
        while at and (at - 1) % ${hashChars} ~= 0 do at = string.find(has, hash, at + 1, true) end
        is = at
      end
      if is then return { 3, tonumber(ARGV[i]) } end
    end
  end
end
local holds = ARGV[9] == '1'
if ARGV[8] ~= '' then
  local base = redis.call('HGET', KEYS[3], 'heldAt') or '0'
  if base ~= ARGV[8] or (holds and #places > 0) then
    if ARGV[7] == '1' then keep(h) end
    return answer(4)
  end
end
if width > 0 and #places == width then
  if ARGV[7] == '1' then keep(h) end
  return answer(1, from, from, h.tail)
end
local to = from + width + 2
local id, list = num(to), table.concat(places, ' ')
local function add(key, lane)
  if list == '' then redis.call('XADD', key, id, 'n', width, 'b', lane)
  else redis.call('XADD', key, id, 'n', width, 'b', lane, 'k', list) end
end
local critical, droppable = ARGV[5], ARGV[6]
if critical ~= '' then add(KEYS[4], critical) end
if droppable ~= '' then add(KEYS[5], droppable) end
h.last = to
h.tail = h.tail + #critical + #droppable
if h.status == 'n' then redis.call('ZADD', KEYS[7], 0, string.match(KEYS[2], '}:s:(.*)$')) end
h.status = ARGV[4] == '1' and 'e' or 'a'
if #fresh > 0 then
  for start = 1, #fresh, 1000 do
    local pairs = {}
    for i = start, math.min(start + 999, #fresh) do
      pairs[#pairs + 1] = num(added[fresh[i]])
      pairs[#pairs + 1] = fresh[i]
    end
    redis.call('ZADD', KEYS[6], unpack(pairs))
  end
  local over = redis.call('ZCARD', KEYS[6]) - ${idsMax}
  while over > 0 do
    local old = redis.call('ZRANGE', KEYS[6], 0, math.min(over, 1000) - 1)
    redis.call('ZREM', KEYS[6], unpack(old))
    leave(h, old)
    over = over - #old
  end
  aged(h, tonumber(redis.call('TIME')[1]))
end
keep(h)
local held, told = '', list
if holds then
  held = ARGV[10]
  redis.call('HSET', KEYS[3], 'heldAt', id, 'held', held)
  told = 'h' .. #held .. ' ' .. list
end
redis.call('SPUBLISH', KEYS[2], h.epoch .. ' ' .. id .. ' ' .. width .. ' ' .. #critical .. ' ' .. told .. '\\n' .. critical .. droppable .. held)
return answer(1, from, to, h.tail)`,
)

/** ARGV: 2 the epoch that begins where there is none · 3 seconds that a session which is only mentioned is remembered. */
const open = script(
  touching,
  `
local h = touched()
if not h then
  h = { epoch = ARGV[2], last = 0, status = 'n', whole = 0, reached = 0, tail = 0, former = '0', mark = 0, marked = 0, before = 0 }
  keep(h, 'EX', ARGV[3])
elseif h.status == 'n' then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
local rest = redis.call('HMGET', KEYS[3], 'lost', 'image', 'rewrites', 'heldAt', 'held')
return { h.epoch, h.last, rest[1] or '', h.whole, h.reached, rest[2] or '', rest[3] or '0', rest[4] or '0', rest[5] or '',
  redis.call('XRANGE', KEYS[4], '-', '+'), redis.call('XRANGE', KEYS[5], '-', '+') }`,
)

/** ARGV: 2 epoch · 3 offset. Answers 0 (behind), 1 last, lost, base and bytes of what is held back, lanes; 2 (lost) after, until. */
const since = script(
  touching,
  `
local h = touched()
if not h or h.epoch ~= ARGV[2] then return { 0 } end
local offset, lost = tonumber(ARGV[3]), lostOf()
for after, above in string.gmatch(lost, '(%d+) (%d+)') do
  if offset > tonumber(after) and offset < tonumber(above) then return { 2, tonumber(after), tonumber(above) } end
end
local rewritten = tonumber(redis.call('HGET', KEYS[3], 'rewritten') or '0')
if offset < h.whole or offset < rewritten or offset > h.last then return { 0 } end
local bytes, entries, lanes = 0, 0, {}
for lane = 4, 5 do
  local all, at = {}, '(' .. ARGV[3]
  repeat
    local page = redis.call('XRANGE', KEYS[lane], at, '+', 'COUNT', 100)
    for _, entry in ipairs(page) do
      all[#all + 1] = entry
      bytes, entries = bytes + #entry[2][4], entries + 1
      at = '(' .. entry[1]
    end
    if bytes > ${sinceBytesMax} or entries > ${sinceEntriesMax} then return { 0 } end
  until #page < 100
  lanes[#lanes + 1] = all
end
local held = redis.call('HMGET', KEYS[3], 'heldAt', 'held')
return { 1, h.last, lost, held[1] or '0', held[2] or '', lanes[1], lanes[2] }`,
)

/**
 * ARGV: 2 epoch · 3 offset · 4 the image · 5 entries and 6 bytes that each lane retains up to the checkpoint. Of the
 * critical lane each batch counts as one.
 */
const checkpoint = script(
  touching,
  `
local h = touched()
if not h or h.epoch ~= ARGV[2] then return 0 end
local offset = tonumber(ARGV[3])
if offset > h.last or offset <= h.reached then return 0 end
for after, above in string.gmatch(lostOf(), '(%d+) (%d+)') do
  if offset > tonumber(after) and offset < tonumber(above) then return 0 end
end
local most, bytesMost = tonumber(ARGV[5]), tonumber(ARGV[6])
local function trim(key, counts)
  local entries, bytes, at = 0, 0, ARGV[3]
  while true do
    local page = redis.call('XREVRANGE', key, at, '-', 'COUNT', 64)
    for _, entry in ipairs(page) do
      local id = tonumber(string.match(entry[1], '^%d+'))
      if entries > most or bytes > bytesMost then
        redis.call('XTRIM', key, 'MINID', num(id + 1))
        h.whole = math.max(h.whole, id)
        return
      end
      entries = entries + (counts and tonumber(entry[2][2]) or 1)
      bytes = bytes + #entry[2][4]
      at = '(' .. entry[1]
    end
    if #page < 64 then return end
  end
end
trim(KEYS[4], false)
trim(KEYS[5], true)
h.reached, h.tail = offset, 0
for lane = 4, 5 do
  local at = '(' .. ARGV[3]
  repeat
    local page = redis.call('XRANGE', KEYS[lane], at, '+', 'COUNT', 64)
    for _, entry in ipairs(page) do
      h.tail = h.tail + #entry[2][4]
      at = '(' .. entry[1]
    end
  until #page < 64
end
redis.call('HSET', KEYS[3], 'image', ARGV[4])
keep(h)
return 1`,
)

/**
 * ARGV: 2 epoch · 3 last · 4 whole · 5 the image · 6 arguments of the critical lane · 7… of each entry of the critical, then of
 * the droppable lane: id, width, bytes, known places. What is told cannot be read, so that followers ask.
 */
const begin = script(
  touching,
  `
local h = touched()
if h and h.status ~= 'n' then return 0 end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
local last = tonumber(ARGV[3])
h = { epoch = ARGV[2], last = last, status = 'a', whole = tonumber(ARGV[4]), reached = last, tail = 0, former = '0',
  mark = 0, marked = 0, before = 0 }
local divide = 6 + tonumber(ARGV[6])
for i = 7, #ARGV, 4 do
  local key = i <= divide and KEYS[4] or KEYS[5]
  if ARGV[i + 3] == '' then redis.call('XADD', key, ARGV[i], 'n', ARGV[i + 1], 'b', ARGV[i + 2])
  else redis.call('XADD', key, ARGV[i], 'n', ARGV[i + 1], 'b', ARGV[i + 2], 'k', ARGV[i + 3]) end
end
redis.call('HSET', KEYS[3], 'image', ARGV[5])
redis.call('ZADD', KEYS[7], 0, string.match(KEYS[2], '}:s:(.*)$'))
keep(h)
redis.call('SPUBLISH', KEYS[2], '+')
return 1`,
)

/**
 * ARGV: 2 epoch · 3 how often it had been rewritten · 4 offset · 5 whether an entry tells the hubs · 6 the image ·
 * 7 arguments of the critical lane · 8… as in `begin`. What follows the offset stays.
 */
const rewrite = script(
  touching,
  `
local h = touched()
if not h or h.epoch ~= ARGV[2] then return 0 end
if (redis.call('HGET', KEYS[3], 'rewrites') or '0') ~= ARGV[3] then return 0 end
local offset = tonumber(ARGV[4])
if offset < h.reached or offset > h.last then return 0 end
local divide = 7 + tonumber(ARGV[7])
h.tail = 0
for lane = 4, 5 do
  local later = redis.call('XRANGE', KEYS[lane], '(' .. ARGV[4], '+')
  redis.call('DEL', KEYS[lane])
  for i = lane == 4 and 8 or divide + 1, lane == 4 and divide or #ARGV, 4 do
    if ARGV[i + 3] == '' then redis.call('XADD', KEYS[lane], ARGV[i], 'n', ARGV[i + 1], 'b', ARGV[i + 2])
    else redis.call('XADD', KEYS[lane], ARGV[i], 'n', ARGV[i + 1], 'b', ARGV[i + 2], 'k', ARGV[i + 3]) end
  end
  for _, entry in ipairs(later) do
    redis.call('XADD', KEYS[lane], entry[1], unpack(entry[2]))
    h.tail = h.tail + #entry[2][4]
  end
end
h.reached = offset
redis.call('HSET', KEYS[3], 'image', ARGV[6], 'rewrites', num(ARGV[3] + 1))
if ARGV[5] ~= '1' then
  h.last = h.last + 1
  redis.call('HSET', KEYS[3], 'rewritten', num(h.last))
  redis.call('SPUBLISH', KEYS[2], '+')
end
keep(h)
return 1`,
)

/** ARGV: 2 the only epoch that is removed, and 3 its only offset; empty for any. Answers 0 (not there), 1, -1 (another one). */
const remove = script(
  touching,
  `
local h = touched()
if not h then return 0 end
if ARGV[2] ~= '' and ARGV[2] ~= h.epoch then return -1 end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= h.last then return -1 end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('ZREM', KEYS[7], string.match(KEYS[2], '}:s:(.*)$'))
redis.call('SPUBLISH', KEYS[2], h.epoch .. ' -')
return 1`,
)

/** ARGV: 2 bytes that are worth to be packed at once. Answers epoch, last and the lanes of a session with many entries. */
const idle = script(
  touching,
  leaving,
  `
local h = touched()
if not h or h.status == 'n' then return {} end
local now = tonumber(redis.call('TIME')[1])
if h.mark > 0 and now - h.mark >= ${idSeconds} then
  aged(h, now)
  keep(h)
end
if redis.call('XLEN', KEYS[4]) + redis.call('XLEN', KEYS[5]) < 4 then return {} end
local size = (redis.call('MEMORY', 'USAGE', KEYS[4], 'SAMPLES', 1) or 0) + (redis.call('MEMORY', 'USAGE', KEYS[5], 'SAMPLES', 1) or 0)
if size > tonumber(ARGV[2]) then return {} end
return { h.epoch, h.last, redis.call('HGET', KEYS[3], 'rewrites') or '0',
  redis.call('XRANGE', KEYS[4], '-', '+'), redis.call('XRANGE', KEYS[5], '-', '+') }`,
)

/**
 * ARGV: 2 epoch · 3 last · 4 how often it had been rewritten · then of each lane how it is now: id, width, bytes; an empty id
 * where there is none.
 */
const pack = script(
  touching,
  `
local h = touched()
if not h or h.epoch ~= ARGV[2] or h.last ~= tonumber(ARGV[3]) then return 0 end
if (redis.call('HGET', KEYS[3], 'rewrites') or '0') ~= ARGV[4] then return 0 end
-- What a rewriting has read before is in other entries now.
redis.call('HINCRBY', KEYS[3], 'rewrites', 1)
for lane = 4, 5 do
  local at = 3 * lane - 7
  if ARGV[at] ~= '' then
    redis.call('DEL', KEYS[lane])
    redis.call('XADD', KEYS[lane], ARGV[at], 'n', ARGV[at + 1], 'b', ARGV[at + 2])
  end
end
return 1`,
)

export const scripts = { hello, append, open, since, checkpoint, begin, rewrite, remove, idle, pack } as const
