-- Records come into a log's windows and leave them; those that no window can reach leave the log.

-- Writes the lowest and the highest amount of records [from, to) into a table from `at` on.
local function rescan(log, t, at, from, to)
  local size, first = log.shape.record, true
  t[at], t[at + 1], t[at + 2], t[at + 3] = 0, 0, 0, 0
  local records, start, finish = view(log, from, to)
  for pos = start, finish, size do
    local _, _, hi, lo = decode(RECORD, records, pos)
    widen(t, at, hi, lo, first)
    first = false
  end
end

local function count_of(o, f, value)
  return o .. ':' .. f .. ':' .. value
end

-- The fields whose values are counted in the window that stands at `o`.
local function asked(shape, o)
  return shape.asked[(o - FIXED - 1) / shape.stride + 1]
end

-- Counts the values of a record in or out.
local function tally(log, o, rest, step)
  local h, shape = log.h, log.shape
  for _, f in ipairs(asked(shape, o)) do
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
    widen(h, o + 4, hi, lo, h[FRONT] - h[o] == 1)
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
  if shape.plain and h[NEWEST] <= limit and front == n then
    h[o], h[o + 1], h[o + 2], h[o + 3] = n, INF, 0, 0
    return h[NEWEST]
  end
  local steps, stale, last, stopped = 0, false, nil, false
  while tail < n and not stopped do
    local records, start, finish
    if steps < STEPS then
      records, start, finish = near(log, (o - FIXED - 1) / shape.stride + 1, tail, COPIED, 2)
    else
      records, start, finish = view(log, tail, within(log, tail, 64))
    end
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
          if shape.extremes then
            stale = stale or (hi == h[o + 4] and lo == h[o + 5]) or (hi == h[o + 6] and lo == h[o + 7])
          end
          if shape.squares then
            add_square(log, o, rest, -1)
          end
          tally(log, o, rest, -1)
        end
      end
      tail, last = tail + 1, time
    end
    steps = steps + 1
  end
  h[o] = tail
  if not stopped then
    h[o + 1] = INF
  end
  if stale then
    rescan(log, h, o + 4, tail, max(tail, front))
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
    forget_near(log, at)
  end
  h[N] = n + 1
  h[NEWEST], h[FIRST] = max(h[NEWEST], time), min(h[FIRST], time)
  if shape.frauds and lo == 1 then
    h[shape.at_frauds + 1] = min(h[shape.at_frauds + 1], time)
  end
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

local function compact(log)
  local h, shape, head = log.h, log.shape, log.h[HEAD]
  local live = slice(log, head, h[N])
  h[N], h[HEAD], h[FRONT] = h[N] - head, 0, h[FRONT] - head
  for o = FIXED + 1, shape.ends, shape.stride do
    h[o] = h[o] - head
  end
  call('SET', log.key, header(log) .. live)
  log.stored, log.buffer, log.ahead, log.copies, log.copied, log.room = true, '', 0, nil, false, false
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

-- The first record later than `limit`; a string in which the one before it and it stand, and where the one before it begins.
local function aged(log, limit)
  local n, size = log.h[N], log.shape.record
  local to = log.h[HEAD] + 1
  for _ = 1, STEPS do
    local records, start, finish = near(log, 0, to - 1, COPIED, 2)
    for pos = start + size, finish, size do
      if decode('<d', records, pos) > limit then
        return to, records, pos - size
      end
      to = to + 1
    end
  end
  to = search(log, to, n, limit)
  local records, start = view(log, to - 1, to + 1)
  return to, records, start
end

-- The first fraud stays known when it leaves; of one that was taken back nothing does.
local function let_frauds_go(log, to)
  local h, f, gone = log.h, log.shape.at_frauds, taken_places(log)
  local records, start, finish = view(log, h[HEAD], to)
  for pos = start, finish, log.shape.record do
    local time, _, _, fraud = decode(RECORD, records, pos)
    if fraud == 1 and gone[sub(records, pos, pos + PLACE_SIZE - 1)] then
      h[f + 1] = NEVER
    elseif fraud == 1 then
      h[f + 2] = min(h[f + 2], time)
    end
  end
end

-- Lets all records before `to` leave: the last of them was at `time`, the next one is at `head_time`.
local function let_go(log, to, time, tie, head_time)
  local h, shape = log.h, log.shape
  if shape.frauds then
    let_frauds_go(log, to)
  end
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
  if to >= COMPACT_AT and to * 2 >= h[N] then
    compact(log)
  end
end

local function trim(log)
  local h, shape = log.h, log.shape
  local limit, n = h[NEWEST] - shape.keep, h[N]
  if h[HEAD_TIME] <= limit or n - h[HEAD] > shape.records then
    local young, records, at = h[HEAD], '', 1
    if h[HEAD_TIME] <= limit then
      young, records, at = aged(log, limit)
    end
    local to = max(young, n - shape.records)
    if to > young then
      local start
      records, start = near(log, 0, young, to + 1 - young, to + 1 - young)
      at = start + (to - young - 1) * shape.record
      if shape.longest > 0 then
        fold_all(log, records, start, at + shape.record - 1)
      end
    end
    local time, tie = decode(PLACE, records, at)
    local head_time = decode('<d', records, at + shape.record)
    let_go(log, to, time, tie, head_time)
  end
  if h[NEWEST] >= h[DUE] then
    settle(log)
  end
end
