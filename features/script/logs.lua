-- Logs of records: a header and the records behind it, in one value. Read with their header where they are short.

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

local logs, opened = {}, {}
local prepare_near

local function prepare(shape)
  shape.at_squares = 4 + (shape.extremes and 4 or 0)
  shape.at_fields = shape.at_squares + (shape.squares and 4 or 0)
  shape.stride = shape.at_fields + 3 * #shape.fields
  shape.ends = FIXED + #shape.windows * shape.stride
  shape.at_frauds = shape.ends + (shape.runs and RUN_SIZE or 0)
  shape.count = shape.at_frauds + (shape.frauds and 2 or 0)
  shape.size = 8 * shape.count
  shape.format = '<' .. rep('d', shape.count)
  shape.values = shape.squares and SQUARE_SIZE or 0 -- of what follows a RECORD: where the digests begin
  shape.record = RECORD_SIZE + shape.values + 8 * #shape.fields + (shape.place and 8 or 0)
  shape.longest = max(0, unpack(shape.windows))
  shape.plain = not (shape.extremes or shape.squares or shape.starts or shape.place) and #shape.fields == 0
  prepare_near(shape)
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
  local record = log.shape.record
  local written = log.h[N] - #log.buffer / record
  if from >= written then
    return log.buffer, (from - written) * record + 1, (to - written) * record
  elseif to > written then
    write_out(log)
  end
  return call('GETRANGE', log.key, first, last - 1), 1, last - first
end

-- The end of a range of at most `count` records from `from` on that can be viewed at once.
local function within(log, from, count)
  local to = min(from + count, log.h[N])
  return from < log.ahead and min(to, log.ahead) or to
end

local function slice(log, from, to)
  local records, first, last = view(log, from, to)
  return sub(records, first, last)
end

local function find(kind, digest, shape)
  local name = kind .. digest
  local log = logs[name]
  if log == nil then
    local bytes = call('GETRANGE', base .. name, '0', shape.ahead)
    log = false
    if bytes ~= '' then
      local h = { decode(shape.format, bytes) }
      log = {
        name = name,
        digest = digest,
        key = base .. name,
        shape = shape,
        stored = true,
        buffer = '',
        bytes = bytes,
        ahead = floor((#bytes - shape.size) / shape.record),
        h = h,
        room = h[HEAD] >= shape.room,
        dirty = false,
      }
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
  local h = { 0, 0, NEVER, NEVER, 0, NEVER, NEVER, 0, INF, INF, 0, INF, INF }
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
  if shape.frauds then
    h[shape.at_frauds + 1], h[shape.at_frauds + 2] = INF, INF
  end
  log.h = h
  return log
end

-- The keys of what is kept beside a log: of events the counts of values, of labels those that were taken back; and what was folded.
local function beside(kind, digest)
  local events = kind == 't'
  return base .. (events and 'd' or 'c') .. digest, base .. (events and 'f' or 'g') .. digest
end

local function touch(kind, digest, shape)
  local log = find(kind, digest, shape)
  if not log then
    local name = kind .. digest
    if logs[name] then
      logs[name].dead = true
      call('UNLINK', base .. name, beside(kind, digest)) -- not what is beside the other log of this value: that one may be alive
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
