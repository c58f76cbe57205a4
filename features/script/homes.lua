-- Homes: shards that keep no entity, but whose an event id is. Each id has one; it is asked before the shards of the event's
-- entities are, so that one body alone is ever applied, and it tells to which of them a label of the event is to go.
-- An id's entry is that of ids.lua, without owners: its raw is the shards (an array), and the first `marks` of what was said
-- of it came before the event.

local CLAIM, TICK, SETTLED, UNSURE = 3, 4, 5, 8 -- kinds of items; the last is added to one whose home has forgotten its id
local CLAIMED = '<c16c8ddI4c0' -- the last but one is the length of the last
local claim

do

local NOTES = 10000 -- so many of a kind: no producer fills a home with them

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

-- What a home decided of a claim and does not forget with its id, so that a shard that lost more than ids are remembered is
-- given what it was given the first time: a hash of claims, and of the numbers from 0 on which claim was noted when.
local REFUSED, EARLY = base .. 'x', base .. 'y'

local function noted(kind, number, id, event)
  return again[number] and call('HGET', kind, id .. event.body .. place_of(number))
end

local function note(kind, number, id, event, told)
  local place = place_of(number)
  if not place or call('HSET', kind, id .. event.body .. place, told) == 0 then
    return
  end
  local turn_of = tostring(call('HINCRBY', kind, 'n', 1) % NOTES)
  local oldest = call('HGET', kind, turn_of)
  if oldest then
    call('HDEL', kind, oldest)
  end
  call('HSET', kind, turn_of, id .. event.body .. place)
end

-- A claim whose body is not that which the home remembers of the id, read again: whether it was refused the first time. Where
-- what was applied then would be remembered, it was.
local function refused_again(number, id, event, known)
  if noted(REFUSED, number, id, event) then
    return true
  end
  local remembered = clock - event.arrived <= plan.memory and event.arrived - event.time <= plan.remember
  return remembered and known and known.seq > 0
end

local function claim_again(number, id, event, known)
  if known and known.seq > 0 and known.body == event.body then
    local sure = known.arrived == event.arrived or clock - event.arrived <= plan.memory
    return answer(DUPLICATE, known.seq, 0, sure and early(known) or noted(EARLY, number, id, event) or NO_RAW)
  end
  if refused_again(number, id, event, known) then
    return answer(CONFLICT, known and known.seq or 0, 0, NO_RAW)
  end
  answer(LATE, 0, AGAIN, noted(EARLY, number, id, event) or NO_RAW)
end

function claim(number, id, event)
  tick(event.arrived)
  local shard = shard_of(id)
  local known = recall_event(number, id, shard, event)
  if again[number] then
    return claim_again(number, id, event, known)
  end
  if known and known.seq > 0 then
    if known.body == event.body then
      return answer(DUPLICATE, known.seq, 0, early(known))
    end
    note(REFUSED, number, id, event, '')
    return answer(CONFLICT, known.seq, 0, NO_RAW)
  end
  if event.arrived - event.time > plan.remember then
    return answer(LATE, 0, 0, NO_RAW)
  end
  seq = seq + 1
  local entry = { key = shelf_of(epochs[#epochs], shard), stamp = clock, seq = seq, arrived = event.arrived }
  entry.body, entry.owners, entry.raw, entry.said = event.body, '', event.shards, ''
  if known then
    meet(entry, known, true)
  end
  entry.marks = min(#entry.said / SAID_SIZE, 255)
  keep(id, entry)
  local told = early(entry)
  if entry.marks > 0 then
    note(EARLY, number, id, event, told)
  end
  answer(FRESH, seq, 0, told)
end

end
