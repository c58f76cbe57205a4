-- Homes: shards that keep no entity, but whose an event id is. Each id has one; it is asked before the shards of the event's
-- entities are, so that one body alone is ever applied, and it tells to which of them a label of the event is to go.
-- An id's entry is that of ids.lua, without owners: its raw is the shards (an array), and the first `marks` of what was said
-- of it came before the event.

local TICK, CLAIM = 4, 3
local CLAIMED = '<c16c8ddI4c0' -- the last but one is the length of the last

-- Labels that came before their event, seven numbers each: they must follow it to its shards, however often it comes.
local function early(entry)
  local told = {}
  for i = 1, entry.marks do
    local key, more, tie, fraud, arrived, _, reverses, rest =
      decode('<I4I4I4BddI4I4', entry.said, SAID_SIZE * (i - 1) + 1)
    for n, each in ipairs({ key, more, tie, fraud, arrived, reverses, rest }) do
      told[7 * (i - 1) + n] = each
    end
  end
  return #told > 0 and encode(told) or NO_RAW
end

local function claim(number, id, event)
  tick(event.arrived)
  local shard = shard_of(id)
  local known = recall(id, shard)
  if known and known.seq > 0 then
    if known.body == event.body then
      return answer(DUPLICATE, known.seq, 0, early(known))
    end
    return answer(CONFLICT, known.seq, 0, NO_RAW)
  end
  if forgotten(number, event.arrived) or event.arrived - event.time > plan.remember then
    return answer(LATE, 0, 0, NO_RAW)
  end
  seq = seq + 1
  local entry = { key = shelf_of(epochs[#epochs], shard), stamp = clock, seq = seq, arrived = event.arrived }
  entry.body, entry.owners, entry.raw, entry.said = event.body, '', event.shards, ''
  if known then
    meet(entry, known)
  end
  entry.marks = min(#entry.said / SAID_SIZE, 255)
  keep(id, entry)
  answer(FRESH, seq, 0, early(entry))
end
