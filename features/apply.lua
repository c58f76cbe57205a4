-- Applies a batch of events and labels to the feature state, atomically. It orders, counts and adds integers; the
-- meaning of every number is in compute.py. windows.py does the same in memory: function by function, the names agree.
--
-- KEYS[1]  the store's base key; every other key begins with it
-- ARGV[1]  the plan (msgpack), ARGV[2] the items (packed: packing.py)
-- ARGV[3]  the highest seq that the caller was ever told, then for each source (a run of a log's partition) the offset
--          behind what was applied before it, the offset behind it, how many items lie before it and in it
-- ARGV[4]  the offsets of the items that have a source; ARGV[5...] the sources' names. All of these or none
-- Answer   the seq, then one msgpack array: status, seq, marks (APPROXIMATE, WIDE), raw of each item. Or the error BEHIND, with the
--          source's number, how far it is held and the seq: this server has lost what it had acknowledged, and nothing has changed
--
-- Keys after the base: "t"/"l" + digest: a log of an entity's events/labels (a header of doubles, then the records);
-- "d" + digest: its counts of distinct values; "c" + digest: its labels taken back; "i" + epoch + ":" + shard: event
-- ids; "s" + epoch: logs that were added to in an epoch; "p": how far each partition was applied.
-- Amounts are two limbs, since Lua's doubles end at 2^53; an answer is one number where that holds it, else an array of both
-- (WIDE). Events in order go through `follow`, which does in one pass what insert, read and trim do step by step.

local base, plan, items = KEYS[1], cmsgpack.unpack(ARGV[1]), ARGV[2]
local call, pack, decode, encode = redis.call, struct.pack, struct.unpack, cmsgpack.pack
local min, max, floor, abs = math.min, math.max, math.floor, math.abs
local sub, rep, char, byte, INF, NEVER = string.sub, string.rep, string.char, string.byte, math.huge, -9007199254740992

local APPROXIMATE, WIDE = 1, 2
local LIMB, EXACT = 4294967296, 9007199254740992
local FRESH, DUPLICATE, CONFLICT, LATE = 0, 1, 2, 3
local LABELLED, LABEL_DUPLICATE, LABEL_PENDING, LABEL_LATE = 4, 5, 6, 7

-- A log's header: these, then for each window tail, time at the tail, sum (high, low); where they are asked for lowest and
-- highest amount and the sum of the squares (four limbs); and of each field the first three numbers of `counts_of`.
local N, HEAD, NEWEST, FLOOR, FLOOR_TIE, TOUCHED, CLOCK, FRONT, FRONT_TIME, HEAD_TIME, TAKEN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local FIRST, FIXED = 12, 12
-- Behind its windows, where they are asked for: the run that the labels up to FRONT end with (its kind, length, first and last
-- time), and the time of the last label before it. Its kind is 1 for frauds, 0, NO_RUN, or UNKNOWN until it is looked up.
local RUN_SIZE, NO_RUN, UNKNOWN = 5, -1, -2
local EVENT, LABEL = '<c16c8ddI4dd', '<c16c8I4Bdc8'
local RECORD, RECORD_SIZE = '<dI4i4I4', 20 -- then its square, where that is asked for, and a digest of each field
local PLACE, PLACE_SIZE = '<dI4', 12 -- what a record begins with
local SQUARE, SQUARE_SIZE = '<I4I4I4I4', 16
local CORRECTION, CORRECTION_SIZE = '<c8dI4Bd', 29
local ENTRY, ENTRY_SIZE = '<dddc8BI2', 35
local SAID, SAID_SIZE = '<c8I4Bddc8', 37
local NOTHING, NO_DIGEST = rep('\0', 8), rep('\0', 16)
local COMPACT_AT = 64
local AHEAD = '4095' -- up to here a log is read with its header: most logs whole. A number as an argument is slow

-- the store's own state

local meta = call('GET', base)
local seq, clock, cursor, epochs = 0, NEVER, 0, {}
if meta then
  seq, clock, cursor = decode('<ddd', meta)
  for at = 25, #meta, 8 do
    epochs[#epochs + 1] = decode('<d', meta, at)
  end
end

local moved = {} -- by the name of a partition: how far it is held once this is applied
local again, placed = {}, 0 -- numbers of the items that lie below how far it was held; items with an offset so far
if ARGV[3] then
  local seen = decode('<d', ARGV[3])
  for i = 5, #ARGV do
    local name, before, after, first, count = ARGV[i], decode('<dddd', ARGV[3], 32 * i - 151)
    local stored = moved[name] or call('HGET', base .. 'p', name)
    local position = moved[name] or (stored and decode('<d', stored)) or 0
    if position < before or seq < seen then
      return redis.error_reply(string.format('BEHIND %d %.0f %.0f', i - 5, position, seq))
    end
    for n = 1, position > before and count or 0 do
      again[first + n] = decode('<d', ARGV[4], 8 * (placed + n) - 7) < position
    end
    placed = placed + count
    moved[name] = max(position, after)
  end
end

local since, turn = INF, -INF -- the epoch of the clock is [since, turn)

local function tick(arrived)
  clock = arrived > clock and arrived or clock
  if clock >= turn then
    local epoch = floor(clock / plan.epoch)
    if epochs[#epochs] ~= epoch then
      epochs[#epochs + 1] = epoch
    end
    since, turn = epoch * plan.epoch, (epoch + 1) * plan.epoch
  end
end

-- what an event is answered, in the order of compute.py: every event's answer has the same width

local raw, wide = {}, false

-- A sum of two limbs as it stands in an answer.
local function whole(hi, lo)
  local sum = hi * LIMB + lo
  if sum < EXACT and sum > -EXACT then
    return sum
  end
  wide = true
  return { hi, lo }
end

-- The same of four limbs, none of them negative.
local function wholly(a, b, c, d)
  local sum = ((a * LIMB + b) * LIMB + c) * LIMB + d
  if sum < EXACT then
    return sum
  end
  wide = true
  return { a, b, c, d }
end

-- logs

local logs, opened = {}, {}

local function prepare(shape)
  shape.at_squares = 4 + (shape.extremes and 4 or 0)
  shape.at_fields = shape.at_squares + (shape.squares and 4 or 0)
  shape.stride = shape.at_fields + 3 * #shape.fields
  shape.ends = FIXED + #shape.windows * shape.stride
  shape.count = shape.ends + (shape.runs and RUN_SIZE or 0)
  shape.size = 8 * shape.count
  shape.format = '<' .. rep('d', shape.count)
  shape.values = shape.squares and SQUARE_SIZE or 0 -- of what follows a RECORD: where the digests begin
  shape.record = RECORD_SIZE + shape.values + 8 * #shape.fields
  shape.longest = max(0, unpack(shape.windows))
  shape.plain = not (shape.extremes or shape.squares or shape.starts) and #shape.fields == 0
end

local function header(log)
  return pack(log.shape.format, unpack(log.h))
end

local function write_out(log)
  if log.stored then
    call('APPEND', log.key, log.buffer)
  else
    call('SET', log.key, header(log) .. log.buffer)
    log.stored = true
  end
  log.buffer = ''
end

local function offset(log, at)
  return log.shape.size + at * log.shape.record
end

-- Records [from, to): a string, the position of the first in it, and the end of the last.
local function view(log, from, to)
  if from >= to then
    return '', 1, 0
  end
  local first, last = offset(log, from), offset(log, to)
  if to <= log.ahead then
    return log.bytes, first + 1, last
  end
  if log.buffer ~= '' then
    write_out(log)
  end
  return call('GETRANGE', log.key, first, last - 1), 1, last - first
end

local function slice(log, from, to)
  local records, first, last = view(log, from, to)
  return sub(records, first, last)
end

local function find(kind, digest, shape)
  local name = kind .. digest
  local log = logs[name]
  if log == nil then
    local bytes = call('GETRANGE', base .. name, '0', AHEAD)
    log = false
    if bytes ~= '' then
      log = { name = name, digest = digest, key = base .. name, shape = shape, stored = true, buffer = '', bytes = bytes }
      log.ahead = floor((#bytes - shape.size) / shape.record)
      log.h = { decode(shape.format, bytes) }
      opened[#opened + 1] = log
    end
    logs[name] = log
  end
  if log and clock - log.h[TOUCHED] <= shape.idle then
    return log
  end
  return nil
end

local function empty(kind, digest, shape)
  local name = kind .. digest
  local log = { name = name, digest = digest, key = base .. name, shape = shape, stored = false, buffer = '', ahead = 0 }
  local h = { 0, 0, NEVER, NEVER, 0, NEVER, NEVER, 0, INF, INF, 0, INF }
  for o = FIXED + 1, shape.ends, shape.stride do
    for i = 0, shape.stride - 1 do
      h[o + i] = 0
    end
    h[o + 1] = INF
  end
  if shape.runs then
    local r = shape.ends
    h[r + 1], h[r + 2], h[r + 3], h[r + 4], h[r + 5] = NO_RUN, 0, NEVER, NEVER, NEVER
  end
  log.h = h
  return log
end

local function touch(kind, digest, shape)
  local log = find(kind, digest, shape)
  if not log then
    local name = kind .. digest
    if logs[name] then
      logs[name].dead = true
      call('UNLINK', base .. name, base .. 'd' .. digest, base .. 'c' .. digest)
    end
    log = empty(kind, digest, shape)
    logs[name] = log
    opened[#opened + 1] = log
  end
  if log.h[TOUCHED] < since then
    call('SADD', base .. 's' .. epochs[#epochs], log.name)
  end
  log.h[TOUCHED] = clock
  log.dirty = true
  return log
end

-- the first record of [from, to) later than a time, or than a (time, tie)
local function search(log, from, to, time, tie)
  tie = tie or INF
  while from < to do
    local middle = floor((from + to) / 2)
    local record, at = view(log, middle, middle + 1)
    local its, its_tie = decode(PLACE, record, at)
    if its < time or (its == time and its_tie <= tie) then
      from = middle + 1
    else
      to = middle
    end
  end
  return from
end

local function rescan(log, o, from, to)
  local h, size, first = log.h, log.shape.record, true
  h[o + 4], h[o + 5], h[o + 6], h[o + 7] = 0, 0, 0, 0
  local records, start, finish = view(log, from, to)
  for pos = start, finish, size do
    local _, _, hi, lo = decode(RECORD, records, pos)
    if first or hi < h[o + 4] or (hi == h[o + 4] and lo < h[o + 5]) then
      h[o + 4], h[o + 5] = hi, lo
    end
    if first or hi > h[o + 6] or (hi == h[o + 6] and lo > h[o + 7]) then
      h[o + 6], h[o + 7] = hi, lo
    end
    first = false
  end
end

local function count_of(o, f, value)
  return o .. ':' .. f .. ':' .. value
end

-- Counts the values of a record in or out.
local function tally(log, o, rest, step)
  local h, shape = log.h, log.shape
  for f = 1, #shape.fields do
    local value = sub(rest, shape.values + 8 * f - 7, shape.values + 8 * f)
    if value ~= NOTHING then
      local key, field, at = base .. 'd' .. log.digest, count_of(o, f, value), o + shape.at_fields + 3 * f - 3
      local count = call('HINCRBY', key, field, step)
      h[at] = h[at] + step
      if step > 0 then
        h[at + 1], h[at + 2] = h[at + 1] + (count == 1 and 1 or 0), h[at + 2] + 2 * count - 1
      else
        h[at + 1], h[at + 2] = h[at + 1] - (count == 0 and 1 or 0), h[at + 2] - 2 * count - 1
        if count == 0 then
          call('HDEL', key, field)
        end
      end
    end
  end
end

local function add_square(log, o, rest, step)
  local h, at = log.h, o + log.shape.at_squares
  local a, b, c, d = decode(SQUARE, rest)
  h[at], h[at + 1], h[at + 2], h[at + 3] = h[at] + step * a, h[at + 1] + step * b, h[at + 2] + step * c, h[at + 3] + step * d
end

-- A label that is later than all in the run: `kind` is 1 for fraud.
local function join_run(log, time, kind)
  local h, r = log.h, log.shape.ends
  if h[r + 1] == kind then
    h[r + 2], h[r + 4] = h[r + 2] + 1, time
  elseif h[r + 1] ~= UNKNOWN then
    h[r + 1], h[r + 2], h[r + 3], h[r + 4], h[r + 5] = kind, 1, time, time, h[r + 4]
  end
end

local function enter(log, o, hi, lo, rest)
  local h, shape = log.h, log.shape
  h[o + 2], h[o + 3] = h[o + 2] + hi, h[o + 3] + lo
  if shape.plain then
    return
  end
  if shape.extremes then
    local first = h[FRONT] - h[o] == 1
    if first or hi < h[o + 4] or (hi == h[o + 4] and lo < h[o + 5]) then
      h[o + 4], h[o + 5] = hi, lo
    end
    if first or hi > h[o + 6] or (hi == h[o + 6] and lo > h[o + 7]) then
      h[o + 6], h[o + 7] = hi, lo
    end
  end
  if shape.squares then
    add_square(log, o, rest, 1)
  end
  tally(log, o, rest, 1)
end

-- Moves a window's tail past all records before `to` and all not later than `limit`; gives the time of the last one.
local function leave(log, o, limit, to)
  local h, shape = log.h, log.shape
  local size, front, n, tail = shape.record, h[FRONT], h[N], h[o]
  local block, stale, last, stopped = 4, false, nil, false
  while tail < n and not stopped do
    local records, start, finish = view(log, tail, min(tail + block, n))
    for pos = start, finish, size do
      local time, _, hi, lo = decode(RECORD, records, pos)
      if time > limit and tail >= to then
        h[o + 1] = time
        stopped = true
        break
      end
      if tail < front then
        h[o + 2], h[o + 3] = h[o + 2] - hi, h[o + 3] - lo
        if not shape.plain then
          local rest = sub(records, pos + RECORD_SIZE, pos + size - 1)
          stale = stale or (hi == h[o + 4] and lo == h[o + 5]) or (hi == h[o + 6] and lo == h[o + 7])
          if shape.squares then
            add_square(log, o, rest, -1)
          end
          tally(log, o, rest, -1)
        end
      end
      tail, last = tail + 1, time
    end
    block = 64
  end
  h[o] = tail
  if not stopped then
    h[o + 1] = INF
  end
  if stale and shape.extremes then
    rescan(log, o, tail, max(tail, front))
  end
  return last
end

local function advance(log, now)
  local h, shape = log.h, log.shape
  local size = shape.record
  while h[FRONT_TIME] <= now do
    h[FRONT_TIME] = INF
    local records, start, finish = view(log, h[FRONT], min(h[FRONT] + 16, h[N]))
    for pos = start, finish, size do
      local time, _, hi, lo = decode(RECORD, records, pos)
      h[FRONT_TIME] = time
      if time > now then
        break
      end
      h[FRONT_TIME] = INF
      h[CLOCK] = max(h[CLOCK], time)
      h[FRONT] = h[FRONT] + 1
      if shape.runs then
        join_run(log, time, lo)
      end
      for o = FIXED + 1, shape.ends, shape.stride do
        enter(log, o, hi, lo, sub(records, pos + RECORD_SIZE, pos + size - 1))
      end
    end
    if h[FRONT_TIME] == INF and h[FRONT] < h[N] then
      local record, at = view(log, h[FRONT], h[FRONT] + 1)
      h[FRONT_TIME] = decode('<d', record, at)
    end
    log.dirty = true
  end
  for w, window in ipairs(shape.windows) do
    local o = FIXED + 1 + (w - 1) * shape.stride
    if h[o + 1] <= now - window then
      h[CLOCK] = max(h[CLOCK], leave(log, o, now - window, 0) + window)
      log.dirty = true
    end
  end
end

-- `at_once`: a reading at this very time follows, so that the record need not be read back
local function insert(log, time, tie, hi, lo, rest, at_once)
  local h, shape, n = log.h, log.shape, log.h[N]
  local at = n
  if n > 0 and time <= h[NEWEST] then
    at = search(log, h[HEAD], n, time, tie)
  end
  local record = pack(RECORD, time, tie, hi, lo) .. rest
  if at == n then
    log.buffer = log.buffer .. record
  else
    local behind = slice(log, at, n)
    if log.buffer ~= '' then
      write_out(log)
    end
    call('SETRANGE', log.key, offset(log, at), record .. behind)
    log.ahead = min(log.ahead, at)
  end
  h[N] = n + 1
  h[NEWEST], h[FIRST] = max(h[NEWEST], time), min(h[FIRST], time)
  if at == h[HEAD] then
    h[HEAD_TIME] = time
  end
  if time > h[CLOCK] and not at_once then
    if at == h[FRONT] then
      h[FRONT_TIME] = time
    end
    for o = FIXED + 1, shape.ends, shape.stride do
      if at == h[o] then
        h[o + 1] = time
      end
    end
    return
  end
  h[CLOCK] = max(h[CLOCK], time)
  h[FRONT] = h[FRONT] + 1
  if shape.runs and at == h[FRONT] - 1 then
    join_run(log, time, lo)
  elseif shape.runs then
    h[shape.ends + 1] = UNKNOWN
  end
  for w, window in ipairs(shape.windows) do
    local o = FIXED + 1 + (w - 1) * shape.stride
    if time > h[CLOCK] - window then
      if at == h[o] then
        h[o + 1] = time
      end
      enter(log, o, hi, lo, rest)
    else
      h[o] = h[o] + 1
    end
  end
end

local function total(log, from, to)
  local size, hi, lo = log.shape.record, 0, 0
  while from < to do
    local records, start, finish = view(log, from, min(from + 256, to))
    for pos = start, finish, size do
      local _, _, its_hi, its_lo = decode(RECORD, records, pos)
      hi, lo = hi + its_hi, lo + its_lo
    end
    from = from + 256
  end
  return hi, lo
end

-- The sum of [tail, front): from the accumulators and what lies between, where that is less to read.
local function sum(log, o, tail, front)
  local h = log.h
  local from, to = h[o], h[FRONT]
  if front - tail <= abs(to - front) + abs(tail - from) then
    return total(log, tail, front)
  end
  local hi, lo = h[o + 2], h[o + 3]
  local more_hi, more_lo = total(log, to, front)
  local less_hi, less_lo = total(log, front, to)
  hi, lo = hi + more_hi - less_hi, lo + more_lo - less_lo
  more_hi, more_lo = total(log, tail, from)
  less_hi, less_lo = total(log, from, tail)
  return hi + more_hi - less_hi, lo + more_lo - less_lo
end

-- What the records say that is in no sum: extremes (two limbs each), squares (four limbs), and of each field its counts.
local function survey(log, tail, front, extra)
  local shape = log.shape
  local size, extremes, squares, sets, first = shape.record, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, {}, true
  for f = 1, #shape.fields do
    sets[f] = {}
  end
  local records = slice(log, tail, front)
  if extra then
    records = records .. pack(RECORD, 0, 0, extra.hi, extra.lo) .. extra.rest
  end
  for pos = 1, #records, size do
    local _, _, hi, lo = decode(RECORD, records, pos)
    local rest = pos + RECORD_SIZE
    if first or hi < extremes[1] or (hi == extremes[1] and lo < extremes[2]) then
      extremes[1], extremes[2] = hi, lo
    end
    if first or hi > extremes[3] or (hi == extremes[3] and lo > extremes[4]) then
      extremes[3], extremes[4] = hi, lo
    end
    first = false
    for i, limb in ipairs(shape.squares and { decode(SQUARE, records, rest) } or {}) do
      squares[i] = (squares[i] or 0) + limb -- the fifth is the place behind
    end
    for f = 1, #shape.fields do
      local from = rest + shape.values + 8 * f - 8
      local value = sub(records, from, from + 7)
      if value ~= NOTHING then
        sets[f][value] = (sets[f][value] or 0) + 1
      end
    end
  end
  return extremes, squares, sets
end

-- How many records have a value, how many values there are, how alike they are (the sum of the squares of their counts), and
-- how often there is this one.
local function counts_of(set, value)
  local total, distinct, alike = 0, 0, 0
  for _, count in pairs(set) do
    total, distinct, alike = total + count, distinct + 1, alike + count * count
  end
  return total, distinct, alike, set[value] or 0
end

-- Writes into raw from `at` on: (count, sum) of each window; then of each, where they are asked for, the extremes, the sum of the
-- squares, the time of the first record; then of each and each field the numbers of `counts_of`. `event` is what is
-- read for; with `extra` as if it were a record too.
local function peek(log, now, at, event, extra)
  local h, shape, windows = log.h, log.shape, #log.shape.windows
  local front, tails = search(log, h[HEAD], h[N], now), {}
  for w, window in ipairs(shape.windows) do
    local tail = search(log, h[HEAD], front, now - window)
    local hi, lo = sum(log, FIXED + 1 + (w - 1) * shape.stride, tail, front)
    if extra then
      raw[at], raw[at + 1] = front - tail + 1, whole(hi + extra.hi, lo + extra.lo)
    else
      raw[at], raw[at + 1] = front - tail, whole(hi, lo)
    end
    at, tails[w] = at + 2, tail
  end
  if shape.plain then
    return
  end
  local at_squares = at + (shape.extremes and 2 * windows or 0)
  local at_starts = at_squares + (shape.squares and windows or 0)
  local at_fields = at_starts + (shape.starts and windows or 0)
  for w, tail in ipairs(tails) do
    local extremes, squares, sets = survey(log, tail, front, extra)
    if shape.extremes then
      raw[at + 2 * w - 2], raw[at + 2 * w - 1] = whole(extremes[1], extremes[2]), whole(extremes[3], extremes[4])
    end
    if shape.squares then
      raw[at_squares + w - 1] = wholly(squares[1], squares[2], squares[3], squares[4])
    end
    if shape.starts then
      raw[at_starts + w - 1] = tail < front and (decode('<d', view(log, tail, tail + 1))) or extra and now or NEVER
    end
    for f, field in ipairs(shape.fields) do
      local i = at_fields
      raw[i], raw[i + 1], raw[i + 2], raw[i + 3] = counts_of(sets[f], event.values[field + 1])
      at_fields = i + 4
    end
  end
end

-- Of each window and field how often its records have the event's value, as it is counted in the log's accumulators.
local function own_counts(log, event)
  local shape, names, places = log.shape, {}, {}
  local own, i = {}, 0
  for o = FIXED + 1, shape.ends, shape.stride do
    for f, field in ipairs(shape.fields) do
      local value = event.values[field + 1]
      i = i + 1
      own[i] = 0
      if value ~= NOTHING then
        names[#names + 1], places[#places + 1] = count_of(o, f, value), i
      end
    end
  end
  local counts = #names > 0 and call('HMGET', base .. 'd' .. log.digest, unpack(names)) or {}
  for n, place in ipairs(places) do
    own[place] = tonumber(counts[n] or 0)
  end
  return own
end

local function read(log, now, at, event)
  local h, shape = log.h, log.shape
  if now < h[CLOCK] then
    return peek(log, now, at, event)
  end
  advance(log, now)
  local front, stride = h[FRONT], shape.stride
  for o = FIXED + 1, shape.ends, stride do
    raw[at], raw[at + 1] = front - h[o], whole(h[o + 2], h[o + 3])
    at = at + 2
  end
  if shape.plain then
    return
  end
  for o = FIXED + 1, shape.extremes and shape.ends or 0, stride do
    raw[at], raw[at + 1] = whole(h[o + 4], h[o + 5]), whole(h[o + 6], h[o + 7])
    at = at + 2
  end
  for o = FIXED + 1 + shape.at_squares, shape.squares and shape.ends or 0, stride do
    raw[at] = wholly(h[o], h[o + 1], h[o + 2], h[o + 3])
    at = at + 1
  end
  for o = FIXED + 1, shape.starts and shape.ends or 0, stride do
    raw[at] = front > h[o] and h[o + 1] or NEVER
    at = at + 1
  end
  if #shape.fields > 0 then
    local own, i = own_counts(log, event), 0
    for o = FIXED + 1, shape.ends, stride do
      for place = o + shape.at_fields, o + stride - 1, 3 do
        i = i + 1
        raw[at], raw[at + 1], raw[at + 2], raw[at + 3] = h[place], h[place + 1], h[place + 2], own[i]
        at = at + 4
      end
    end
  end
end

-- Inserts a record later than all others, and reads: what most events do, in one pass over the windows.
local function follow(log, event, at)
  local h, windows, time, hi, lo = log.h, log.shape.windows, event.time, event.hi, event.lo
  local n, o = h[N], FIXED + 1
  for w = 1, #windows do
    local limit = time - windows[w]
    if h[o + 1] <= limit then
      leave(log, o, limit, 0)
    end
    local tail, sum_hi, sum_lo = h[o], h[o + 2] + hi, h[o + 3] + lo
    if tail == n then
      h[o + 1] = time
    end
    h[o + 2], h[o + 3] = sum_hi, sum_lo
    local sum = sum_hi * LIMB + sum_lo
    raw[at], raw[at + 1] = n + 1 - tail, sum < EXACT and sum > -EXACT and sum or whole(sum_hi, sum_lo)
    at, o = at + 2, o + 4
  end
  if n == h[HEAD] then
    h[HEAD_TIME] = time
  end
  if h[FIRST] == INF then
    h[FIRST] = time
  end
  h[N], h[FRONT], h[NEWEST], h[CLOCK] = n + 1, n + 1, time, time
  log.buffer = log.buffer .. pack(RECORD, time, event.tie, hi, lo)
end

local function last(log, time)
  local h = log.h
  if h[N] > h[HEAD] and h[NEWEST] <= time then
    return h[NEWEST]
  end
  local at = search(log, h[HEAD], h[N], time)
  if at > h[HEAD] then
    local record, first = view(log, at - 1, at)
    return (decode('<d', record, first))
  end
  return h[FLOOR] <= time and h[FLOOR] or NEVER
end

-- The time of the first record there ever was; NEVER where that is later than `time`.
local function first(log, time)
  return log.h[FIRST] <= time and log.h[FIRST] or NEVER
end

-- Writes what is told of the records before an event into raw: the time of the last, of the first, and age and amount of the
-- recent ones, newest first.
local function tell_before(log, entity, time)
  local shape, size = log.shape, log.shape.record
  raw[entity.last] = last(log, time)
  if shape.first then
    raw[entity.last + 1] = first(log, time)
  end
  if shape.recent == 0 then
    return
  end
  local h, at, ends = log.h, entity.recent, entity.recent + 2 * shape.recent
  local to = h[NEWEST] <= time and h[N] or search(log, h[HEAD], h[N], time)
  local records, start, finish = view(log, max(h[HEAD], to - shape.recent), to)
  for pos = finish - size + 1, start, -size do
    local its, _, hi, lo = decode(RECORD, records, pos)
    raw[at], raw[at + 1] = time - its, whole(hi, lo)
    at = at + 2
  end
  for i = at, ends - 1, 2 do
    raw[i], raw[i + 1] = NEVER, 0
  end
end

local function partial(log, now)
  return log.h[FLOOR] > now - log.shape.longest
end

local function compact(log)
  local h, shape, head = log.h, log.shape, log.h[HEAD]
  local live = slice(log, head, h[N])
  h[N], h[HEAD], h[FRONT] = h[N] - head, 0, h[FRONT] - head
  for o = FIXED + 1, shape.ends, shape.stride do
    h[o] = h[o] - head
  end
  call('SET', log.key, header(log) .. live)
  log.stored, log.buffer, log.ahead = true, '', 0
end

-- What left is in no run.
local function cut_run(log)
  local h, r = log.h, log.shape.ends
  local left = h[FRONT] - h[HEAD]
  if left == 0 then
    h[r + 1], h[r + 2], h[r + 3], h[r + 4], h[r + 5] = NO_RUN, 0, NEVER, NEVER, NEVER
  elseif h[r + 3] <= h[FLOOR] then
    h[r + 2], h[r + 3] = min(h[r + 2], left), h[HEAD_TIME]
  end
  if h[r + 5] == h[FLOOR] then
    h[r + 1] = UNKNOWN -- there may be another label of this time
  elseif h[r + 5] < h[FLOOR] then
    h[r + 5] = NEVER
  end
end

local function trim(log)
  local h, shape = log.h, log.shape
  local limit, head, n = h[NEWEST] - shape.keep, h[HEAD], h[N]
  if h[HEAD_TIME] > limit and n - head <= shape.records then
    return
  end
  local to = head
  if h[HEAD_TIME] <= limit then
    local near = min(head + 8, n)
    to = search(log, head, near, limit)
    if to == near then
      to = search(log, near, n, limit)
    end
  end
  to = max(to, n - shape.records)
  local records, at = view(log, to - 1, to + 1)
  local time, tie = decode(PLACE, records, at)
  local head_time = decode('<d', records, at + shape.record)
  if time > h[FLOOR] or (time == h[FLOOR] and tie > h[FLOOR_TIE]) then
    h[FLOOR], h[FLOOR_TIE] = time, tie
  end
  for o = FIXED + 1, shape.ends, shape.stride do
    if h[o] < to then
      leave(log, o, -INF, to)
    end
  end
  h[HEAD], h[HEAD_TIME] = to, head_time
  if h[FRONT] < to then
    h[FRONT], h[FRONT_TIME] = to, head_time
  end
  if shape.runs then
    cut_run(log)
  end
  if to >= COMPACT_AT and to * 2 >= n then
    compact(log)
  end
end

-- labels

local function corrections(log)
  local made = {}
  local bytes = log.h[TAKEN] > 0 and call('GET', base .. 'c' .. log.digest) or ''
  for pos = 1, #bytes, CORRECTION_SIZE do
    local key, arrived, tie, fraud, until_then = decode(CORRECTION, bytes, pos)
    if arrived > log.h[FLOOR] or (arrived == log.h[FLOOR] and tie > log.h[FLOOR_TIE]) then
      made[#made + 1] = { key = key, arrived = arrived, tie = tie, fraud = fraud, till = until_then }
    end
  end
  return made
end

local function take_back(log, said, till)
  local h = log.h
  local at = search(log, h[HEAD], h[N], said.arrived, said.tie) - 1
  if at < h[HEAD] then
    return
  end
  local record, first = view(log, at, at + 1)
  local time, tie = decode(PLACE, record, first)
  if time ~= said.arrived or tie ~= said.tie then
    return
  end
  local made, known = corrections(log), false
  for _, each in ipairs(made) do
    if each.key == said.key then
      each.till = min(each.till, till)
      known = true
    end
  end
  if not known then
    made[#made + 1] = { key = said.key, arrived = said.arrived, tie = said.tie, fraud = said.fraud, till = till }
  end
  local bytes = {}
  for i, each in ipairs(made) do
    bytes[i] = pack(CORRECTION, each.key, each.arrived, each.tie, each.fraud, each.till)
  end
  call('SET', base .. 'c' .. log.digest, table.concat(bytes))
  h[TAKEN] = #made
end

-- The run that the labels up to `now` end with, looked up from the newest back; `gone` has the places of those taken back.
local function look_up_run(log, now, gone)
  local h, size = log.h, log.shape.record
  local kind, length, first_time, last_time, before = NO_RUN, 0, NEVER, NEVER, NEVER
  local to, head = search(log, h[HEAD], h[N], now), h[HEAD]
  while to > head do
    local from = max(head, to - 64)
    local records, start, finish = view(log, from, to)
    for pos = finish - size + 1, start, -size do
      local time, _, _, fraud = decode(RECORD, records, pos)
      if not gone[sub(records, pos, pos + PLACE_SIZE - 1)] then
        if kind == NO_RUN then
          kind, last_time = fraud, time
        elseif fraud ~= kind then
          return kind, length, first_time, last_time, time
        end
        length, first_time = length + 1, time
      end
    end
    to = from
  end
  return kind, length, first_time, last_time, before
end

-- Writes a run into raw from `at` on, its times as ages: who comes again later gets the answer of the first time.
local function tell_run(now, at, kind, length, first_time, last_time, before)
  raw[at], raw[at + 1] = kind, length
  raw[at + 2] = first_time ~= NEVER and now - first_time or NEVER
  raw[at + 3] = last_time ~= NEVER and now - last_time or NEVER
  raw[at + 4] = before ~= NEVER and now - before or NEVER
end

local function read_run(log, now, made, at)
  local h, r, gone = log.h, log.shape.ends, {}
  if now < h[CLOCK] or #made > 0 then
    for _, each in ipairs(made) do
      gone[pack(PLACE, each.arrived, each.tie)] = each.till <= now
    end
    return tell_run(now, at, look_up_run(log, now, gone))
  end
  if h[r + 1] == UNKNOWN then
    h[r + 1], h[r + 2], h[r + 3], h[r + 4], h[r + 5] = look_up_run(log, now, gone)
    log.dirty = true
  end
  tell_run(now, at, h[r + 1], h[r + 2], h[r + 3], h[r + 4], h[r + 5])
end

-- Writes (labels, frauds) of each window into raw from `at` on, and the run where it is asked for.
local function read_labels(digest, entity, now)
  local shape, at = entity.labels, entity.said
  local log = find('l', digest, shape)
  if not log then
    for i, number in ipairs(entity.unsaid) do
      raw[at + i - 1] = number
    end
    return false
  end
  read(log, now, at)
  local made = log.h[TAKEN] > 0 and corrections(log) or {}
  if shape.runs then
    read_run(log, now, made, at + 2 * #shape.windows)
  end
  for _, each in ipairs(made) do
    if each.till <= now and each.arrived <= now then
      for w, window in ipairs(shape.windows) do
        if each.arrived > now - window then
          local i = at + 2 * w - 2
          raw[i], raw[i + 1] = raw[i] - 1, raw[i + 1] - each.fraud
        end
      end
    end
  end
  return partial(log, now)
end

-- event ids

local shelves = {}

local function shelf_of(epoch, shard)
  shelves[epoch] = shelves[epoch] or base .. 'i' .. epoch .. ':'
  return shelves[epoch] .. shard
end

local function shard_name(number)
  return char(floor(number / 256), number % 256)
end

local function shard_of(id)
  local first, second = byte(id, 1, 2)
  return shard_name((first * 256 + second) % plan.shards)
end

local function recall(id, shard)
  for i = #epochs, 1, -1 do
    if clock - (epochs[i] + 1) * plan.epoch > plan.memory then
      return nil
    end
    local key = shelf_of(epochs[i], shard)
    local bytes = call('HGET', key, id)
    if bytes then
      local entry = { key = key }
      local length
      entry.stamp, entry.seq, entry.arrived, entry.body, entry.marks, length = decode(ENTRY, bytes)
      if clock - entry.stamp > plan.memory then
        return nil
      end
      local owners, ends = ENTRY_SIZE + 16 * plan.owners, ENTRY_SIZE + 16 * plan.owners + length
      entry.owners, entry.raw = sub(bytes, ENTRY_SIZE + 1, owners), sub(bytes, owners + 1, ends)
      entry.said = sub(bytes, ends + 1)
      return entry
    end
  end
  return nil
end

local function keep(id, entry)
  local fixed = pack(ENTRY, entry.stamp, entry.seq, entry.arrived, entry.body, entry.marks, #entry.raw)
  call('HSET', entry.key, id, fixed .. entry.owners .. entry.raw .. entry.said)
end

local function labels_of(entry)
  local made = {}
  for pos = 1, #entry.said, SAID_SIZE do
    local key, tie, fraud, arrived, number, reverses = decode(SAID, entry.said, pos)
    made[#made + 1] = { key = key, tie = tie, fraud = fraud, arrived = arrived, seq = number, reverses = reverses }
  end
  return made
end

local function say(entry, said)
  local earlier, till
  for _, each in ipairs(labels_of(entry)) do
    if each.key == said.reverses then
      earlier = each
    end
    if each.reverses == said.key then
      till = min(till or INF, each.arrived)
    end
  end
  entry.said = entry.said .. pack(SAID, said.key, said.tie, said.fraud, said.arrived, said.seq, said.reverses)
  local o = 0
  for _, entity in ipairs(plan.entities) do
    if entity.labels then
      local owner = sub(entry.owners, o + 1, o + 16)
      o = o + 16
      if owner ~= NO_DIGEST then
        local log = touch('l', owner, entity.labels)
        insert(log, said.arrived, said.tie, 0, said.fraud, '', false)
        if earlier then
          take_back(log, earlier, said.arrived)
        end
        if till then
          take_back(log, said, till)
        end
        trim(log)
      end
    end
  end
end

-- items

local answers, answered = {}, 0
local BYTES = {} -- by a small number, which msgpack has as it is: its byte
for number = 0, 7 do
  BYTES[number] = char(number)
end

local function answer(status, number, marks, packed)
  answered = answered + 1
  answers[answered] = BYTES[status] .. encode(number) .. BYTES[marks] .. packed
end

local NO_RAW = '\144'

-- What follows a RECORD.
local function rest_of(shape, event)
  local rest = shape.squares and event.square or ''
  for _, field in ipairs(shape.fields) do
    rest = rest .. event.values[field + 1]
  end
  return rest
end

-- Whether `follow` does: the record is the newest, and no window has been read beyond it.
local function follows(log, time)
  return log.shape.plain and time > log.h[NEWEST] and time >= log.h[CLOCK]
end

local function add_in_place(log, event, at)
  insert(log, event.time, event.tie, event.hi, event.lo, rest_of(log.shape, event), event.time >= log.h[CLOCK])
  read(log, event.time, at, event)
end

local function add_events(digest, entity, event)
  local shape = entity.events
  local log = touch('t', digest, shape)
  local time = event.time
  tell_before(log, entity, time)
  if follows(log, time) then
    follow(log, event, entity.first)
  else
    add_in_place(log, event, entity.first)
  end
  local approximate = partial(log, time)
  trim(log)
  return approximate
end

-- The same of an event that is no record: what is known when it comes.
local function read_events(digest, entity, event)
  local log = find('t', digest, entity.events)
  if not log then
    for i = entity.first, entity.said - 1 do
      raw[i] = entity.absent[i - entity.first + 1]
    end
    return false
  end
  tell_before(log, entity, event.time)
  read(log, event.time, entity.first, event)
  return partial(log, event.time)
end

-- The same of an event that could be a record, changing nothing.
local function peek_events(digest, entity, event, extra)
  local shape = entity.events
  local log = find('t', digest, shape) or empty('t', digest, shape)
  peek(log, event.time, entity.first, event, extra and { hi = event.hi, lo = event.lo, rest = rest_of(shape, event) })
  tell_before(log, entity, event.time)
  return partial(log, event.time)
end

-- Whether an event is a record of an entity's part.
local function inside(event, e)
  return event.inside[e] ~= false
end

local function events_of(digest, e, event, change)
  local entity, is_record = plan.entities[e], inside(event, e)
  if not change then
    return peek_events(digest, entity, event, is_record)
  end
  return (is_record and add_events or read_events)(digest, entity, event)
end

-- The features of an event, packed, and its marks; without `change` nothing is added.
local function features(event, change)
  local approximate = false
  wide = false
  for e = 1, #plan.entities do
    local entity, digest = plan.entities[e], event.digests[e]
    if digest == NO_DIGEST then
      for i, number in ipairs(entity.absent) do
        raw[entity.first + i - 1] = number
      end
    else
      if entity.events then
        approximate = events_of(digest, e, event, change) or approximate
      end
      if entity.labels then
        approximate = read_labels(digest, entity, event.arrived) or approximate
      end
    end
  end
  return #raw > 0 and encode(raw) or NO_RAW, (approximate and APPROXIMATE or 0) + (wide and WIDE or 0)
end

local function owners_of(event)
  local owners = ''
  for e = 1, #plan.entities do
    if plan.entities[e].labels then
      owners = owners .. (inside(event, e) and event.digests[e] or NO_DIGEST)
    end
  end
  return owners
end

-- Whether an id that is unknown may be of something that was applied: what lies below the place held, after its memory's end.
local function forgotten(number, arrived)
  return again[number] and clock - arrived > plan.memory
end

-- Labels that came before their event.
local function meet(entry, known)
  for _, said in ipairs(labels_of(known)) do
    if said.arrived - entry.arrived <= plan.horizon then
      say(entry, said)
    end
  end
end

local function transaction(number, id, event)
  tick(event.arrived)
  local shard = shard_of(id)
  local known = recall(id, shard)
  if known and known.seq > 0 then
    if known.body == event.body then
      return answer(DUPLICATE, known.seq, known.marks, known.raw)
    end
    return answer(CONFLICT, known.seq, 0, NO_RAW)
  end
  if forgotten(number, event.arrived) or event.arrived - event.time > plan.remember then
    local packed, marks = features(event, false)
    return answer(LATE, 0, marks, packed)
  end
  seq = seq + 1
  local packed, marks = features(event, true)
  local key, owners = shelf_of(epochs[#epochs], shard), owners_of(event)
  if known then
    local entry = { key = key, stamp = clock, seq = seq, arrived = event.arrived, said = '' }
    entry.body, entry.marks, entry.raw, entry.owners = event.body, marks, packed, owners
    meet(entry, known)
    keep(id, entry)
  else
    call('HSET', key, id, pack(ENTRY, clock, seq, event.arrived, event.body, marks, #packed) .. owners .. packed)
  end
  answer(FRESH, seq, marks, packed)
end

local function label(number, id, said)
  tick(said.arrived)
  local shard = shard_of(id)
  local entry = recall(id, shard)
  for _, each in ipairs(entry and labels_of(entry) or {}) do
    if each.key == said.key then
      return answer(LABEL_DUPLICATE, each.seq, 0, NO_RAW)
    end
  end
  local late = entry and entry.seq > 0 and said.arrived - entry.arrived > plan.horizon
  if late or forgotten(number, said.arrived) then
    return answer(LABEL_LATE, 0, 0, NO_RAW)
  end
  seq = seq + 1
  said.seq = seq
  if entry and entry.seq > 0 then
    say(entry, said)
    keep(id, entry)
    return answer(LABELLED, seq, 0, NO_RAW)
  end
  if not entry then
    entry = { key = shelf_of(epochs[#epochs], shard), stamp = clock, seq = 0, arrived = 0, body = NOTHING, marks = 0 }
    entry.owners, entry.raw, entry.said = rep(NO_DIGEST, plan.owners), '', ''
  end
  entry.said = entry.said .. pack(SAID, said.key, said.tie, said.fraud, said.arrived, seq, said.reverses)
  keep(id, entry)
  answer(LABEL_PENDING, seq, 0, NO_RAW)
end

local function texts(width, count, pos, into)
  for i = 1, count do
    into[i] = sub(items, pos, pos + width - 1)
    pos = pos + width
  end
  return pos
end

local function apply()
  local event = { digests = {}, values = {}, inside = {} } -- one at a time: a table for each would cost more than what is in it
  local pos, number, size = 1, 0, #items
  while pos <= size do
    number = number + 1
    local id
    if byte(items, pos) == 1 then
      id, event.body, event.time, event.arrived, event.tie, event.hi, event.lo, pos = decode(EVENT, items, pos + 1)
      pos = texts(16, #plan.entities, pos, event.digests)
      pos = texts(8, plan.values, pos, event.values)
      event.square, pos = sub(items, pos, pos + plan.square - 1), pos + plan.square
      for e = 1, #plan.entities do
        if plan.entities[e].filtered then
          event.inside[e], pos = byte(items, pos) == 1, pos + 1
        end
      end
      transaction(number, id, event)
    else
      local said = {}
      id, said.key, said.tie, said.fraud, said.arrived, said.reverses, pos = decode(LABEL, items, pos + 1)
      label(number, id, said)
    end
  end
end

-- what is forgotten leaves a little with every call

local function forget()
  local epoch = epochs[1]
  if #epochs < 2 or clock - (epoch + 1) * plan.epoch <= plan.dead then
    return
  end
  local keys = {}
  for shard = cursor, min(cursor + plan.sweep, plan.shards) - 1 do
    keys[#keys + 1] = shelf_of(epoch, shard_name(shard))
  end
  if #keys > 0 then
    call('UNLINK', unpack(keys))
  end
  cursor = cursor + #keys
  local names = call('SPOP', base .. 's' .. epoch, plan.sweep)
  for _, name in ipairs(names) do
    local touched = call('GETRANGE', base .. name, 8 * TOUCHED - 8, 8 * TOUCHED - 1)
    if touched ~= '' and clock - decode('<d', touched) > plan.dead then
      local digest = sub(name, 2)
      local more = sub(name, 1, 1) == 't' and 'd' or 'c'
      call('UNLINK', base .. name, base .. more .. digest)
    end
  end
  if cursor >= plan.shards and #names < plan.sweep then
    cursor = 0
    table.remove(epochs, 1)
  end
end

for _, entity in ipairs(plan.entities) do
  if entity.events then
    prepare(entity.events)
  end
  if entity.labels then
    prepare(entity.labels)
  end
end
for i = 1, plan.width do
  raw[i] = 0 -- in the order of the array that it stays
end
apply()
for _, log in ipairs(opened) do
  if not log.dead then
    if not log.stored then
      write_out(log)
    elseif log.dirty then
      if log.buffer ~= '' then
        write_out(log)
      end
      call('SETRANGE', log.key, '0', header(log))
    end
  end
end
forget()
local stamps = {}
for i, epoch in ipairs(epochs) do
  stamps[i] = pack('<d', epoch)
end
call('SET', base, pack('<ddd', seq, clock, cursor) .. table.concat(stamps))
for name, after in pairs(moved) do
  call('HSET', base .. 'p', name, pack('<d', after))
end
return pack('<d', seq) .. '\221' .. pack('>I4', 4 * answered) .. table.concat(answers)
