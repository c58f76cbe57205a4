-- Events and labels, one after the other; then what has changed is written, and a little of what is forgotten leaves.

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
    local kind, id, at = byte(items, pos), nil, nil
    local unsure = kind >= UNSURE
    kind = kind % UNSURE
    number = number + (kind < TICK and 1 or 0)
    if kind == TICK then
      at, pos = decode('<d', items, pos + 1)
      tick(at)
    elseif kind == SETTLED then
      settled, pos = decode('<d', items, pos + 1)
    elseif kind == CLAIM then
      id, event.body, event.time, event.arrived, event.shards, pos = decode(CLAIMED, items, pos + 1)
      claim(number, id, event)
    elseif kind == 1 then
      event.unsure = unsure
      id, event.body, event.time, event.arrived, event.tie, event.hi, event.lo, pos = decode(EVENT, items, pos + 1)
      pos = texts(16, #plan.entities, pos, event.digests)
      pos = texts(8, plan.values, pos, event.values)
      event.square, pos = sub(items, pos, pos + plan.square - 1), pos + plan.square
      for e = 1, #plan.entities do
        if plan.entities[e].filtered then
          event.inside[e], pos = byte(items, pos) == 1, pos + 1
        end
      end
      if carry then
        event.whose, pos = sub(items, pos, pos + 15), pos + 16
      end
      transaction(number, id, event)
    else
      local said = { unsure = unsure }
      id, said.key, said.tie, said.fraud, said.arrived, said.reverses, pos = decode(LABEL, items, pos + 1)
      label(number, id, said)
    end
  end
end

-- what is forgotten leaves a little with every call

local forget

do

local CARRIED = { [byte('h')] = true, [byte('a')] = true }
local PLACE_OF_TOUCHED, END_OF_TOUCHED = tostring(8 * TOUCHED - 8), tostring(8 * TOUCHED - 1)

function forget(touched_now)
  local epoch = epochs[1]
  local now = min(clock, settled)
  if #epochs < 2 or now - (epoch + 1) * plan.epoch <= plan.dead then
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
  local most = plan.sweep + touched_now -- more than a call can add
  local names, dead = call('SPOP', base .. 's' .. epoch, most), {}
  for _, name in ipairs(names) do
    local state = CARRIED[byte(name)]
    local touched = call('GETRANGE', base .. name, state and '8' or PLACE_OF_TOUCHED, state and '15' or END_OF_TOUCHED)
    if touched ~= '' and now - decode('<d', touched) > plan.dead then
      local counts, folds = beside(sub(name, 1, 1), sub(name, 2))
      dead[#dead + 1], dead[#dead + 2], dead[#dead + 3] = base .. name, counts, folds
    end
  end
  for first = 1, #dead, SOME do
    call('UNLINK', unpack(dead, first, min(first + SOME - 1, #dead)))
  end
  if cursor >= plan.shards and #names < most then
    cursor = 0
    table.remove(epochs, 1)
  end
end

end

for _, entity in ipairs(plan.entities) do
  for _, shape in ipairs({ entity.events or entity.labels, entity.events and entity.labels }) do
    if shape then
      prepare(shape)
      prepare_folds(shape)
    end
  end
end
for i = 1, plan.width do
  raw[i] = 0 -- in the order of the array that it stays
end
apply()
for _, log in ipairs(opened) do
  if not log.dead then
    write_folds(log)
    if not log.stored then
      write_out(log)
    elseif log.dirty then
      if log.buffer ~= '' then
        write_out(log)
      end
      call('SETRANGE', log.key, '0', header(log))
      if log.copied then
        write_near(log)
      end
    end
  end
end
forget(#opened + (carry and carry.write() or 0))
local stamps = {}
for i, epoch in ipairs(epochs) do
  stamps[i] = pack('<d', epoch)
end
call('SET', base, pack('<ddd', seq, clock, cursor) .. table.concat(stamps))
for name, after in pairs(moved) do
  call('HSET', base .. 'p', name, pack('<d', after))
end
return pack('<d', seq) .. '\221' .. pack('>I4', 4 * answered) .. table.concat(answers) .. (carry and carry.told(answered) or '')
