-- Event ids: what is remembered of each, and what was said of it.

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

local recall, recall_event, recall_labelled

do

-- What an epoch holds of an id.
local function held(epoch, id, shard)
  local key = shelf_of(epoch, shard)
  local bytes = call('HGET', key, id)
  if not bytes then
    return nil
  end
  local entry = { key = key }
  local length
  entry.stamp, entry.seq, entry.arrived, entry.body, entry.marks, length = decode(ENTRY, bytes)
  local owners, ends = ENTRY_SIZE + 16 * plan.owners, ENTRY_SIZE + 16 * plan.owners + length
  entry.owners, entry.raw = sub(bytes, ENTRY_SIZE + 1, owners), sub(bytes, owners + 1, ends)
  entry.said = sub(bytes, ends + 1)
  return entry
end

function recall(id, shard)
  for i = #epochs, 1, -1 do
    if clock - (epochs[i] + 1) * plan.epoch > plan.memory then
      return nil
    end
    local entry = held(epochs[i], id, shard)
    if entry then
      return clock - entry.stamp <= plan.memory and entry or nil
    end
  end
  return nil
end

-- What was applied before and is read again is known until its answer must have come to whoever asked, even where the clock is
-- ahead of that, or another took its id since: a batch that one shard refused may have moved the others' clocks by days.
-- Else what is remembered of the id.
local function found_again(id, shard, fits)
  for i = #epochs, 1, -1 do
    local entry = held(epochs[i], id, shard)
    if entry and fits(entry) and min(clock, settled) - entry.stamp <= plan.memory then
      return entry
    end
  end
  return recall(id, shard)
end

function recall_event(number, id, shard, event)
  if not again[number] then
    return recall(id, shard)
  end
  return found_again(id, shard, function(entry)
    return entry.seq > 0 and entry.body == event.body and entry.arrived == event.arrived
  end)
end

function recall_labelled(number, id, shard, said)
  if not again[number] then
    return recall(id, shard)
  end
  return found_again(id, shard, function(entry)
    for _, each in ipairs(labels_of(entry)) do
      if each.key == said.key and each.arrived == said.arrived then
        return true
      end
    end
    return false
  end)
end

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
