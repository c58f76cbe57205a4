-- What the records of a log say of an event, written into raw.

local sum, counts_of, peek, read, follow, last, first, tell_before

do
  local function total(log, from, to)
    local size, hi, lo = log.shape.record, 0, 0
    while from < to do
      local records, start, finish = view(log, from, min(from + 256, to))
      for pos = start, finish, size do
        local its_hi, its_lo = decode(AMOUNT, records, pos + PLACE_SIZE)
        hi, lo = hi + its_hi, lo + its_lo
      end
      from = from + 256
    end
    return hi, lo
  end

  -- The sum of [tail, front): from the accumulators and what lies between, where that is less to read.
  function sum(log, o, tail, front)
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

  -- What a window's records say that is in no sum: extremes (two limbs each), squares (four limbs), and of each field how often it
  -- has each value.
  local function nothing_yet(shape, o)
    local told = { extremes = { 0, 0, 0, 0 }, squares = { 0, 0, 0, 0 }, sets = {}, fields = asked(shape, o), first = true }
    for f = 1, #shape.fields do
      told.sets[f] = {}
    end
    return told
  end

  -- Counts records in (step 1), or out (-1): extremes that leave are stale.
  local function gather(shape, records, start, finish, step, told)
    local fields = told.fields
    for pos = start, finish, shape.record do
      local _, _, hi, lo = decode(RECORD, records, pos)
      local rest, e = pos + RECORD_SIZE, told.extremes
      if step > 0 then
        widen(e, 1, hi, lo, told.first)
        told.first = false
      else
        told.stale = told.stale or (hi == e[1] and lo == e[2]) or (hi == e[3] and lo == e[4])
      end
      if shape.squares then
        local a, b, c, d = decode(SQUARE, records, rest)
        local squares = told.squares
        squares[1], squares[2] = squares[1] + step * a, squares[2] + step * b
        squares[3], squares[4] = squares[3] + step * c, squares[4] + step * d
      end
      for _, f in ipairs(fields) do
        local from = rest + shape.values + 8 * f - 8
        local value = sub(records, from, from + 7)
        if value ~= NOTHING then
          told.sets[f][value] = (told.sets[f][value] or 0) + step
        end
      end
    end
  end

  local function gather_from(log, from, to, step, told)
    while from < to do
      local records, start, finish = view(log, from, min(from + 256, to))
      gather(log.shape, records, start, finish, step, told)
      from = from + 256
    end
  end

  -- What the records [tail, front) say: from the accumulators and what lies between, where that is less to read. `near` is then set,
  -- and the sets hold what is to be added to the counts that are kept.
  local function survey(log, o, tail, front)
    local h, shape = log.h, log.shape
    local from, to, told = h[o], h[FRONT], nothing_yet(shape, o)
    if front - tail <= abs(to - front) + abs(tail - from) or tail > to or from > front then
      gather_from(log, tail, front, 1, told)
      return told
    end
    told.near, told.first = true, false
    told.extremes = shape.extremes and { h[o + 4], h[o + 5], h[o + 6], h[o + 7] } or told.extremes
    local at = o + shape.at_squares
    told.squares = shape.squares and { h[at], h[at + 1], h[at + 2], h[at + 3] } or told.squares
    gather_from(log, front, to, -1, told)
    gather_from(log, from, tail, -1, told)
    gather_from(log, to, front, 1, told)
    gather_from(log, tail, from, 1, told)
    if shape.extremes and told.stale then
      rescan(log, told.extremes, 1, tail, front)
    end
    return told
  end

  -- How many records have a value, how many values there are, how alike they are (the sum of the squares of their counts), and
  -- how often there is this one.
  function counts_of(set, value)
    local total, distinct, alike = 0, 0, 0
    for _, count in pairs(set) do
      total, distinct, alike = total + count, distinct + 1, alike + count * count
    end
    return total, distinct, alike, set[value] or 0
  end

  -- The same of a window's own counts and what is to be added to them.
  local function counts_near(log, o, f, added, value)
    local h, at, names, values = log.h, o + log.shape.at_fields + 3 * f - 3, {}, {}
    local total, distinct, alike, own = h[at], h[at + 1], h[at + 2], 0
    added[value] = added[value] or 0
    for each in pairs(added) do
      values[#values + 1], names[#names + 1] = each, count_of(o, f, each)
    end
    for first = 1, #names, SOME do
      local counts = call('HMGET', base .. 'd' .. log.digest, unpack(names, first, min(first + SOME - 1, #names)))
      for n = 1, #counts do
        local each, before = values[first + n - 1], tonumber(counts[n] or 0)
        local after = before + added[each]
        total, alike = total + added[each], alike + after * after - before * before
        distinct = distinct + (after > 0 and 1 or 0) - (before > 0 and 1 or 0)
        own = each == value and after or own
      end
    end
    return total, distinct, alike, own
  end

  -- Writes into raw from `at` on: (count, sum) of each window; then of each, where they are asked for, the extremes, the sum of the
  -- squares, the time of the first record; then of each and each field the numbers of `counts_of`. `event` is what is
  -- read for; with `extra` as if it were a record too.
  function peek(log, now, at, event, extra)
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
      local o = FIXED + 1 + (w - 1) * shape.stride
      local told = survey(log, o, tail, front)
      if extra then
        told.first = tail == front
        gather(shape, pack(RECORD, 0, 0, extra.hi, extra.lo) .. extra.rest, 1, 1, 1, told)
      end
      local extremes, squares, sets = told.extremes, told.squares, told.sets
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
        local value = event.values[field + 1]
        if told.near then
          raw[i], raw[i + 1], raw[i + 2], raw[i + 3] = counts_near(log, o, f, sets[f], value)
        else
          raw[i], raw[i + 1], raw[i + 2], raw[i + 3] = counts_of(sets[f], value)
        end
        at_fields = i + 4
      end
    end
  end

  -- Of each window and field how often its records have the event's value, as it is counted in the log's accumulators.
  local function own_counts(log, event)
    local shape, names, places = log.shape, {}, {}
    local own, i = {}, 0
    for o = FIXED + 1, shape.ends, shape.stride do
      for f = 1, #shape.fields do
        own[i + f] = 0
      end
      for _, f in ipairs(asked(shape, o)) do
        local value = event.values[shape.fields[f] + 1]
        if value ~= NOTHING then
          names[#names + 1], places[#places + 1] = count_of(o, f, value), i + f
        end
      end
      i = i + #shape.fields
    end
    local counts = #names > 0 and call('HMGET', base .. 'd' .. log.digest, unpack(names)) or {}
    for n, place in ipairs(places) do
      own[place] = tonumber(counts[n] or 0)
    end
    return own
  end

  function read(log, now, at, event)
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
  function follow(log, event, at)
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

  function last(log, time)
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
  function first(log, time)
    return log.h[FIRST] <= time and log.h[FIRST] or NEVER
  end

  -- Writes the place of the last record not later than a time into raw; NEVER twice where there is none, or it has none.
  local function tell_place(log, time, at)
    local h = log.h
    local to = h[NEWEST] <= time and h[N] or search(log, h[HEAD], h[N], time)
    raw[at], raw[at + 1] = NEVER, NEVER
    if to > h[HEAD] then
      local records, _, finish = view(log, to - 1, to)
      local north, east = decode('<i4i4', records, finish - 7)
      if north ~= NOWHERE then
        raw[at], raw[at + 1] = north, east
      end
    end
  end

  -- Writes what is told of the records before an event into raw: the time of the last, of the first, the place of the last, and
  -- age and amount of the recent ones, newest first.
  function tell_before(log, entity, time)
    local shape, size = log.shape, log.shape.record
    raw[entity.last] = last(log, time)
    if shape.first then
      raw[entity.last + 1] = first(log, time)
    end
    if shape.place then
      tell_place(log, time, entity.recent - 2)
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
end
