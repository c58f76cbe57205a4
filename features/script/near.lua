-- What leaves next is kept near: copies of the records from the head and from each window's tail on, where records that have left lay
-- behind the header. They come with it, so that an event reads from further away only every few records.
--
-- Copies number 0 are of the head, number w of window w's tail: a mark that tells the first record, where a record's time would be,
-- and the records. A log that has not let go of so many records has none, nor where a time stands that is no mark.

local near, forget_near, write_near
local COPIED = 12 -- records
local STEPS = 3 -- so often what is near is looked at, before more at once is

do
  local NEAR = 1000 -- bytes, beyond which fewer are copied
  local MARKED, STEP = -1152921504606846976, 256 -- a mark is MARKED - STEP * first: exact, and below every time

  function prepare_near(shape)
    local places = #shape.windows + 1
    shape.copied = min(COPIED, floor(NEAR / places / shape.record) - 1)
    shape.copies = (1 + shape.copied) * shape.record -- bytes
    shape.room = shape.copied > 2 and places * (1 + shape.copied) or INF
    shape.ahead = tostring(shape.size + max(WHOLE, shape.room < INF and shape.room or 0) * shape.record - 1)
    shape.copies_at = {}
    for i = 0, places - 1 do
      shape.copies_at[i] = tostring(shape.size + i * shape.copies)
    end
  end

  -- Copies of a log, three fields each: the first record, a string, the position in it. Where those of number `i` stand.
  local function copies(log, i)
    local c, at = log.copies, 3 * i + 1
    if not c then
      c = {}
      log.copies = c
    end
    if c[at] == nil then
      c[at], c[at + 1], c[at + 2] = NEVER, '', 1
      if log.room then
        local start = log.shape.size + i * log.shape.copies + 1
        local mark = decode('<d', log.bytes, start)
        if mark <= MARKED then
          c[at], c[at + 1], c[at + 2] = (MARKED - mark) / STEP, log.bytes, start + 8
        end
      end
    end
    return c, at
  end

  -- Records from `from` on, as `view` gives them: at most `count` of them, at least `least` where there are so many.
  function near(log, i, from, count, least)
    local shape, n = log.shape, log.h[N]
    local size, copied, enough = shape.record, shape.copied, min(from + least, n)
    if enough <= log.ahead then
      return view(log, from, min(from + count, log.ahead))
    elseif shape.room > log.h[HEAD] or least > copied then
      return view(log, from, min(from + max(count, least), n))
    end
    local c, at = copies(log, i)
    if from < c[at] or enough > c[at] + copied then
      if from + copied > n then
        return view(log, from, min(from + count, n))
      end
      c[at], c[at + 1], c[at + 2] = from, view(log, from, from + copied)
      log.copied = true
    end
    local start = c[at + 2]
    return c[at + 1], start + (from - c[at]) * size, start + (min(from + count, c[at] + copied) - c[at]) * size - 1
  end

  -- A record comes in at `place`: what is copied from there on is not what there is any more.
  function forget_near(log, place)
    for i = 0, (log.room or log.copied) and #log.shape.windows or -1 do
      local c, at = copies(log, i)
      if place < c[at] + log.shape.copied then
        c[at], c[at + 1], c[at + 2] = NEVER, NOTHING, 1
        log.copied = true
      end
    end
  end

  -- Writes the copies that have changed.
  function write_near(log)
    local shape, c = log.shape, log.copies
    if log.h[HEAD] < shape.room then
      return
    end
    for i = 0, #shape.windows do
      local from, bytes, start = c[3 * i + 1], c[3 * i + 2], c[3 * i + 3]
      if bytes == NOTHING then
        call('SETRANGE', log.key, shape.copies_at[i], NOTHING)
      elseif from and bytes ~= log.bytes and bytes ~= '' then
        local records = sub(bytes, start, start + shape.copied * shape.record - 1)
        call('SETRANGE', log.key, shape.copies_at[i], pack('<d', MARKED - STEP * from) .. records)
      end
    end
  end
end
