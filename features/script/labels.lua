-- Labels: which are taken back, and the run that they end with.

local take_back, read_labels

do
  function take_back(log, said, till)
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

  -- The first fraud in a log, those in `gone` left out; INF: there is none.
  local function look_up_fraud(log, gone)
    local h, from = log.h, log.h[HEAD]
    while from < h[N] do
      local records, start, finish = view(log, from, min(from + 256, h[N]))
      for pos = start, finish, log.shape.record do
        local time, _, _, fraud = decode(RECORD, records, pos)
        if fraud == 1 and not gone[sub(records, pos, pos + PLACE_SIZE - 1)] then
          return time
        end
      end
      from = from + 256
    end
    return INF
  end

  -- The first fraud that counts, now or later.
  local function first_fraud(log, now, made)
    local h, f, gone = log.h, log.shape.at_frauds, {}
    if h[f + 2] <= now then
      return h[f + 2]
    end
    for _, each in ipairs(made) do
      gone[pack(PLACE, each.arrived, each.tie)] = each.till <= now
    end
    if #made > 0 then
      return look_up_fraud(log, gone)
    end
    if h[f + 1] == NEVER then
      h[f + 1] = min(h[f + 2], look_up_fraud(log, gone))
      log.dirty = true
    end
    return h[f + 1]
  end

  -- Writes (labels, frauds) of each window into raw from `at` on, the run and the first fraud where they are asked for. Gives what
  -- `beyond` does.
  function read_labels(digest, entity, now)
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
    if shape.frauds then
      local first = first_fraud(log, now, made)
      raw[at + 2 * #shape.windows + (shape.runs and RUN_SIZE or 0)] = first <= now and now - first or NEVER
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
    return beyond(log, now, at)
  end
end
