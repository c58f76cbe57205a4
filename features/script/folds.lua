-- What is left of records that had to leave a log because of its bound: buckets of neighbours in time, as in folds.py.
--
-- Key "f"/"g" + digest, of a log of events/labels: what was in buckets that have left, then the buckets, the oldest first.
-- Each holds from which newest time on it is one with that before it, the times of its first and last record; then, running
-- on from bucket to bucket, how many records there were, their sum (two limbs) and that of the squares (four, where they are asked
-- for), all low limbs below LIMB; then its own lowest and highest amount where they are asked for (two limbs each).

-- Lets an amount count for the lowest and the highest (two limbs each) that stand in a table from `at` on.
local function widen(t, at, hi, lo, first)
  if first or hi < t[at] or (hi == t[at] and lo < t[at + 1]) then
    t[at], t[at + 1] = hi, lo
  end
  if first or hi > t[at + 2] or (hi == t[at + 2] and lo > t[at + 3]) then
    t[at + 2], t[at + 3] = hi, lo
  end
end

-- Labels that are taken back.
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

-- The places of labels that are taken back.
local function taken_places(log)
  local gone = {}
  for _, each in ipairs(log.h[TAKEN] > 0 and corrections(log) or {}) do
    gone[pack(PLACE, each.arrived, each.tie)] = true
  end
  return gone
end

local prepare_folds, fold_all, settle, write_folds, beyond

do -- a chunk of Lua has room for 200 locals: what only this chapter needs is let go at its end
  local APART, BEGUN, LAST, COUNT, SUM, SQUARES_AT = 1, 2, 3, 4, 5, 7
  local FINE, MILLION = 64, 1000000

  -- Lets high limbs take what their low limbs, which end at `to`, are too large for.
  local function carry(t, from, to)
    for i = to, from + 1, -1 do
      local more = floor(t[i] / LIMB)
      t[i], t[i - 1] = t[i] - more * LIMB, t[i - 1] + more
    end
  end

  function prepare_folds(shape)
    shape.fold_extremes = SQUARES_AT + (shape.squares and 4 or 0)
    shape.fold_count = shape.fold_extremes - 1 + (shape.extremes and 4 or 0)
    shape.fold_size, shape.fold = 8 * shape.fold_count, '<' .. rep('d', shape.fold_count)
  end

  local function folds_key(log)
    return base .. (byte(log.name) == 116 and 'f' or 'g') .. log.digest -- 116: t
  end

  -- The buckets of a log: `n` with what stands before them, all but the last of them packed, as they are stored up to `kept`.
  local function folds_of(log)
    if log.folds then
      return log.folds
    end
    local shape, f = log.shape, { body = '', n = 1, kept = 0 }
    local bytes = log.h[DUE] < INF and call('GET', folds_key(log)) or ''
    if bytes == '' then
      f.tail = { NEVER, NEVER, NEVER }
      for i = 4, shape.fold_count do
        f.tail[i] = 0
      end
    else
      f.kept, f.n = #bytes - shape.fold_size, #bytes / shape.fold_size
      f.body, f.tail = sub(bytes, 1, f.kept), { decode(shape.fold, bytes, f.kept + 1) }
    end
    log.folds = f
    return f
  end

  -- Number `i` of the buckets: 0 is what stands before them.
  local function bucket_at(f, shape, i)
    return i == f.n - 1 and f.tail or { decode(shape.fold, f.body, i * shape.fold_size + 1) }
  end

  local function told_of(f, shape, i, which)
    if i == f.n - 1 then
      return f.tail[which]
    end
    return (decode('<d', f.body, i * shape.fold_size + 8 * which - 7))
  end

  -- The first bucket that goes on behind a time.
  local function behind(f, shape, time)
    if f.tail[LAST] <= time then
      return f.n
    end
    local from, to = 0, f.n - 1
    while from < to do
      local middle = floor((from + to) / 2)
      if told_of(f, shape, middle, LAST) <= time then
        from = middle + 1
      else
        to = middle
      end
    end
    return from
  end

  -- From which newest time on two times share a bucket; NEVER: they always do, INF: not as long as they are kept.
  local function apart_until(shape, earlier, later)
    local span = shape.unit
    if floor(earlier / span) == floor(later / span) then
      return NEVER
    end
    while span * FINE <= shape.keep do
      span = span * 2
      local cell = floor(later / span)
      if floor(earlier / span) == cell then
        return (cell + 1 + FINE) * span
      end
    end
    return INF
  end

  local function count_in(b, shape, record)
    b[COUNT], b[SUM], b[SUM + 1] = b[COUNT] + 1, b[SUM] + record.hi, b[SUM + 1] + record.lo
    carry(b, SUM, SUM + 1)
    if shape.squares then
      for i, limb in ipairs(record.square) do
        b[SQUARES_AT + i - 1] = b[SQUARES_AT + i - 1] + limb
      end
      carry(b, SQUARES_AT, SQUARES_AT + 3)
    end
  end

  local function take_in(b, shape, record)
    b[BEGUN], b[LAST] = min(b[BEGUN], record.time), max(b[LAST], record.time)
    if shape.extremes then
      widen(b, shape.fold_extremes, record.hi, record.lo, false)
    end
  end

  -- A bucket of this record alone, in which nothing runs on from `before` yet.
  local function bucket_of(before, shape, record, apart)
    local b = { apart, record.time, record.time }
    for i = 4, shape.fold_count do
      b[i] = before[i]
    end
    if shape.extremes then
      widen(b, shape.fold_extremes, record.hi, record.lo, true)
    end
    return b
  end

  local function all_of(f, shape)
    local list = {}
    for i = 0, f.n - 1 do
      list[i + 1] = bucket_at(f, shape, i)
    end
    return list
  end

  local function keep_all(log, list)
    local f, packed = log.folds, {}
    for i = 1, #list - 1 do
      packed[i] = pack(log.shape.fold, unpack(list[i]))
    end
    f.body, f.tail, f.n, f.kept, f.dirty = table.concat(packed), list[#list], #list, 0, true
  end

  -- A record that is not later than all in the buckets: those behind it run on from more.
  local function fold_between(log, record)
    local f, shape, newest = folds_of(log), log.shape, log.h[NEWEST]
    local list, at = all_of(f, shape), 1
    while list[at][LAST] < record.time do
      at = at + 1
    end
    local apart = apart_until(shape, list[at - 1][LAST], record.time)
    local apart_behind = apart_until(shape, record.time, list[at][BEGUN])
    if list[at][BEGUN] <= record.time then
      take_in(list[at], shape, record)
    elseif at > 2 and apart <= newest then
      at = at - 1
      take_in(list[at], shape, record)
    elseif apart_behind <= newest then
      take_in(list[at], shape, record)
    else
      table.insert(list, at, bucket_of(list[at - 1], shape, record, apart))
      list[at + 1][APART] = apart_behind
      log.h[DUE] = min(log.h[DUE], record.time + shape.keep, at > 2 and apart or INF, apart_behind)
    end
    for i = at, #list do
      count_in(list[i], shape, record)
    end
    keep_all(log, list)
  end

  local function fold(log, record)
    local f, shape, h = folds_of(log), log.shape, log.h
    if f.n > 1 and record.time < f.tail[LAST] then
      return fold_between(log, record)
    end
    local apart = f.n > 1 and apart_until(shape, f.tail[LAST], record.time) or INF
    if apart <= h[NEWEST] then
      take_in(f.tail, shape, record)
    else
      f.body = f.body .. pack(shape.fold, unpack(f.tail))
      f.tail, f.n = bucket_of(f.tail, shape, record, apart), f.n + 1
      h[DUE] = min(h[DUE], apart, record.time + shape.keep)
    end
    count_in(f.tail, shape, record)
    f.dirty = true
  end

  -- Folds records that leave; a label that was taken back counts no more.
  function fold_all(log, records, from, to)
    local shape, gone = log.shape, taken_places(log)
    for pos = from, to, shape.record do
      if not gone[sub(records, pos, pos + PLACE_SIZE - 1)] then
        local record = {}
        record.time, record.tie, record.hi, record.lo = decode(RECORD, records, pos)
        record.square = shape.squares and { decode(SQUARE, records, pos + RECORD_SIZE) }
        if record.square then
          record.square[5] = nil -- the place behind
        end
        fold(log, record)
      end
    end
  end

  -- Buckets `from` to `to` as one.
  local function joined(f, shape, from, to)
    local b, first = bucket_at(f, shape, to), bucket_at(f, shape, from)
    b[APART], b[BEGUN] = first[APART], first[BEGUN]
    for i = from, shape.extremes and to - 1 or from - 1 do
      local each, at = bucket_at(f, shape, i), shape.fold_extremes
      widen(b, at, each[at], each[at + 1], false)
      widen(b, at, each[at + 2], each[at + 3], false)
    end
    return b
  end

  -- Lets buckets that are old enough become one with their neighbours, and those older than all that is kept leave.
  function settle(log)
    local f, shape, h = folds_of(log), log.shape, log.h
    local newest, size, i = h[NEWEST], shape.fold_size, behind(f, shape, h[NEWEST] - shape.keep)
    local before, due = bucket_at(f, shape, i - 1), i < f.n and told_of(f, shape, i, LAST) + shape.keep or INF
    before[BEGUN], before[LAST] = NEVER, NEVER
    local packed = { pack(shape.fold, unpack(before)) }
    while i < f.n do
      local ends = i
      while ends + 1 < f.n and told_of(f, shape, ends + 1, APART) <= newest do
        ends = ends + 1
      end
      if ends == i and i < f.n - 1 then
        packed[#packed + 1] = sub(f.body, i * size + 1, (i + 1) * size)
      else
        packed[#packed + 1] = pack(shape.fold, unpack(joined(f, shape, i, ends)))
      end
      i = ends + 1
      due = min(due, i < f.n and told_of(f, shape, i, APART) or INF)
    end
    h[DUE] = due
    if #packed == 1 then
      call('UNLINK', folds_key(log))
      log.folds = nil
    else
      f.body, f.n, f.kept, f.dirty = table.concat(packed, '', 1, #packed - 1), #packed, 0, true
      f.tail = { decode(shape.fold, packed[#packed]) }
    end
  end

  function write_folds(log)
    local f = log.folds
    if f and f.dirty then
      local tail = pack(log.shape.fold, unpack(f.tail))
      if f.kept == 0 then
        call('SET', folds_key(log), f.body .. tail)
      else
        call('SETRANGE', folds_key(log), f.kept, sub(f.body, f.kept + 1) .. tail)
      end
    end
  end

  -- An answer in so many limbs, two or four, the highest first.
  local function limbs_of(told, count)
    local limbs = {}
    if type(told) == 'table' then
      for i = 1, count do
        limbs[i] = told[i]
      end
      return limbs
    end
    for i = 1, count - 2 do
      limbs[i] = 0
    end
    limbs[count - 1] = floor(told / LIMB)
    limbs[count] = told - limbs[count - 1] * LIMB
    return limbs
  end

  -- The lowest and highest amounts of buckets [from, to) and of what was told from raw `at` on, if that was of any record.
  local function tell_extremes(f, shape, from, to, at, any)
    local its, e = shape.fold_extremes, { 0, 0, 0, 0 }
    if any then
      local low, high = limbs_of(raw[at], 2), limbs_of(raw[at + 1], 2)
      e = { low[1], low[2], high[1], high[2] }
    end
    for i = from, to - 1 do
      local b = bucket_at(f, shape, i)
      widen(e, 1, b[its], b[its + 1], not any)
      any = true
      widen(e, 1, b[its + 2], b[its + 3], false)
    end
    raw[at], raw[at + 1] = whole(e[1], e[2]), whole(e[3], e[4])
  end

  -- Adds buckets [from, to) to what is told of a window: its count in raw[at], the first window's in raw[start].
  local function tell_folds(f, shape, w, from, to, start)
    local at, windows = start + 2 * w - 2, #shape.windows
    local less, b = bucket_at(f, shape, from - 1), bucket_at(f, shape, to - 1)
    if shape.extremes then
      tell_extremes(f, shape, from, to, at + 2 * windows, raw[at] > 0)
    end
    local sum = limbs_of(raw[at + 1], 2)
    raw[at] = raw[at] + b[COUNT] - less[COUNT]
    raw[at + 1] = whole(sum[1] + b[SUM] - less[SUM], sum[2] + b[SUM + 1] - less[SUM + 1])
    at = start + (shape.extremes and 4 or 2) * windows + w - 1
    if shape.squares then
      local s = limbs_of(raw[at], 4)
      for i = 1, 4 do
        s[i] = s[i] + b[SQUARES_AT + i - 1] - less[SQUARES_AT + i - 1]
      end
      raw[at] = wholly(s[1], s[2], s[3], s[4])
    end
    if shape.starts then
      raw[at + (shape.squares and windows or 0)] = told_of(f, shape, from, BEGUN)
    end
  end

  -- Adds to each window that ends `now` the buckets that are in it, to what is told in raw from `start` on. The bucket that a
  -- window begins in counts in full; one that goes on behind `now` does not count. Gives the largest share of a window's count
  -- that is uncertain by that, in millionths, rounded up.
  local function reach(log, now, start)
    local shape, f, worst = log.shape, folds_of(log), 0
    local to, above = behind(f, shape, now), 0
    if to < f.n and told_of(f, shape, to, BEGUN) <= now then
      above = told_of(f, shape, to, COUNT) - told_of(f, shape, to - 1, COUNT)
    end
    for w, window in ipairs(shape.windows) do
      local from, doubtful = min(behind(f, shape, now - window), to), above
      if from < to then
        tell_folds(f, shape, w, from, to, start)
        if told_of(f, shape, from, BEGUN) <= now - window then
          doubtful = doubtful + told_of(f, shape, from, COUNT) - told_of(f, shape, from - 1, COUNT)
        end
      end
      if doubtful > 0 then
        local part, all = MILLION * doubtful, raw[start + 2 * w - 2] + above
        local rest = part % all
        worst = max(worst, (part - rest) / all + (rest > 0 and 1 or 0))
      end
    end
    return worst
  end

  -- Adds what has left to what is told in raw from `start` on. Gives the error in millionths, false where nothing of it would be in
  -- a window that ends `now`: all, where what would be left because of its age.
  function beyond(log, now, start)
    local h, shape = log.h, log.shape
    if h[FLOOR] <= now - shape.longest then
      return false
    end
    local worst = h[DUE] < INF and reach(log, now, start) or 0
    return now - shape.longest < h[NEWEST] - shape.keep and MILLION or worst
  end
end
