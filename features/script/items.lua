-- One event, one label: what it changes, and what it is answered.

local answers, answered = {}, 0
local BYTES = {} -- by a small number, which msgpack has as it is: its byte
for number = 0, 7 do
  BYTES[number] = char(number)
end

local function answer(status, number, marks, packed)
  answered = answered + 1
  answers[answered] = BYTES[status] .. encode(number) .. BYTES[marks] .. packed
end

local NO_RAW = '\144'

local meet, transaction, label

do

-- What follows a RECORD.
local function rest_of(shape, event)
  local rest = shape.squares and event.square or ''
  for _, field in ipairs(shape.fields) do
    rest = rest .. event.values[field + 1]
  end
  return shape.place and rest .. event.values[shape.place] or rest
end

-- Whether `follow` does: the record is the newest, and no window has been read beyond it.
local function follows(log, time)
  return log.shape.plain and time > log.h[NEWEST] and time >= log.h[CLOCK]
end

local function add_in_place(log, event, at)
  insert(log, event.time, event.tie, event.hi, event.lo, rest_of(log.shape, event), event.time >= log.h[CLOCK])
  read(log, event.time, at, event)
end

local function add_events(digest, entity, event)
  local shape = entity.events
  local log = touch('t', digest, shape)
  local time = event.time
  tell_before(log, entity, time)
  if follows(log, time) then
    follow(log, event, entity.first)
  else
    add_in_place(log, event, entity.first)
  end
  local worst = beyond(log, time, entity.first)
  trim(log)
  return worst
end

-- The same of an event that is no record: what is known when it comes.
local function read_events(digest, entity, event)
  local log = find('t', digest, entity.events)
  if not log then
    for i = entity.first, entity.said - 1 do
      raw[i] = entity.absent[i - entity.first + 1]
    end
    return false
  end
  tell_before(log, entity, event.time)
  read(log, event.time, entity.first, event)
  return beyond(log, event.time, entity.first)
end

-- The same of an event that could be a record, changing nothing.
local function peek_events(digest, entity, event, extra)
  local shape = entity.events
  local log = find('t', digest, shape) or empty('t', digest, shape)
  peek(log, event.time, entity.first, event, extra and { hi = event.hi, lo = event.lo, rest = rest_of(shape, event) })
  tell_before(log, entity, event.time)
  return beyond(log, event.time, entity.first)
end

-- Whether an event is a record of an entity's part.
local function inside(event, e)
  return event.inside[e] ~= false
end

local function events_of(digest, e, event, change)
  local entity, is_record = plan.entities[e], inside(event, e)
  if not change then
    return peek_events(digest, entity, event, is_record)
  end
  return (is_record and add_events or read_events)(digest, entity, event)
end

-- What a shard tells of an event: the numbers of the entities that live in it.
local function mine(event)
  local told, n = {}, 0
  for e, entity in ipairs(plan.entities) do
    for i = entity.first, event.digests[e] ~= NO_DIGEST and entity.first + #entity.absent - 1 or 0 do
      n = n + 1
      told[n] = raw[i]
    end
  end
  return told
end

-- The features of an event, packed, and its marks; without `change` nothing is added.
local function features(event, change)
  local approximate = false
  wide = false
  for e = 1, #plan.entities do
    local entity, digest = plan.entities[e], event.digests[e]
    if digest == NO_DIGEST then
      for i, number in ipairs(entity.absent) do
        raw[entity.first + i - 1] = number
      end
    else
      local of_events = entity.events and events_of(digest, e, event, change)
      local of_labels = entity.labels and read_labels(digest, entity, event.arrived)
      approximate = approximate or of_events or of_labels
      raw[entity.error] = max(of_events or 0, of_labels or 0)
    end
  end
  local told = plan.sharded and mine(event) or raw
  return #told > 0 and encode(told) or NO_RAW, (approximate and APPROXIMATE or 0) + (wide and WIDE or 0)
end

local function owners_of(event)
  local owners = ''
  for e = 1, #plan.entities do
    if plan.entities[e].labels then
      owners = owners .. (inside(event, e) and event.digests[e] or NO_DIGEST)
    end
  end
  return owners
end

-- Labels that came before their event; those that a shard was given as a guess (their seq is negative) only where `unsure`.
function meet(entry, known, unsure)
  for _, said in ipairs(labels_of(known)) do
    if said.arrived - entry.arrived <= plan.horizon and (unsure or said.seq > 0) then
      said.seq = abs(said.seq)
      say(entry, said)
    end
  end
end

function transaction(number, id, event)
  tick(event.arrived)
  local shard = shard_of(id)
  local known = recall_event(number, id, shard, event)
  if known and known.seq > 0 then
    if known.body == event.body then
      if carry then
        carry.of(event, answered + 1, known.seq, known.stamp, true)
      end
      return answer(DUPLICATE, known.seq, known.marks, known.raw)
    end
    return answer(CONFLICT, known.seq, 0, NO_RAW)
  end
  if again[number] or event.arrived - event.time > plan.remember then
    local packed, marks = features(event, false)
    if carry then
      carry.of(event, answered + 1, 0, clock)
    end
    return answer(LATE, 0, marks, packed)
  end
  seq = seq + 1
  local packed, marks = features(event, true)
  local key, owners = shelf_of(epochs[#epochs], shard), owners_of(event)
  if known then
    local entry = { key = key, stamp = clock, seq = seq, arrived = event.arrived, said = '' }
    entry.body, entry.marks, entry.raw, entry.owners = event.body, marks, packed, owners
    meet(entry, known, event.unsure)
    keep(id, entry)
  else
    call('HSET', key, id, pack(ENTRY, clock, seq, event.arrived, event.body, marks, #packed) .. owners .. packed)
  end
  if carry then
    carry.of(event, answered + 1, seq, clock)
  end
  answer(FRESH, seq, marks, packed)
end

-- What a label is answered of its event: where a store of several shards has it, as its claim said.
local function where(entry)
  return plan.home and entry and entry.seq > 0 and entry.raw or NO_RAW
end

-- Whether a label that is known came in these very words: another of its id is nobody's but the home's to know.
local function is_same(known, said)
  return known.arrived == said.arrived and known.fraud == said.fraud and known.reverses == said.reverses
end

-- What was a guess is none any more.
local function assure(id, entry, known)
  local said = ''
  for _, each in ipairs(labels_of(entry)) do
    local number = each.key == known.key and abs(each.seq) or each.seq
    said = said .. pack(SAID, each.key, each.tie, each.fraud, each.arrived, number, each.reverses)
  end
  entry.said = said
  keep(id, entry)
end

function label(number, id, said)
  tick(said.arrived)
  local shard = shard_of(id)
  local entry = recall_labelled(number, id, shard, said)
  for _, each in ipairs(entry and labels_of(entry) or {}) do
    if each.key == said.key then
      if each.seq < 0 and not said.unsure then
        assure(id, entry, each)
      end
      return answer(LABEL_DUPLICATE, abs(each.seq), 0, is_same(each, said) and where(entry) or NO_RAW)
    end
  end
  if entry and entry.seq > 0 and said.arrived - entry.arrived > plan.horizon then
    return answer(LABEL_LATE, 0, 0, NO_RAW)
  end
  if again[number] then
    return answer(LABEL_LATE, 0, AGAIN, NO_RAW)
  end
  seq = seq + 1
  said.seq = seq
  if entry and entry.seq > 0 then
    say(entry, said)
    keep(id, entry)
    return answer(LABELLED, seq, 0, where(entry))
  end
  if not entry then
    entry = { key = shelf_of(epochs[#epochs], shard), stamp = clock, seq = 0, arrived = 0, body = NOTHING, marks = 0 }
    entry.owners, entry.raw, entry.said = rep(NO_DIGEST, plan.owners), '', ''
  end
  entry.said = entry.said .. pack(SAID, said.key, said.tie, said.fraud, said.arrived, said.unsure and -seq or seq, said.reverses)
  keep(id, entry)
  answer(LABEL_PENDING, seq, 0, NO_RAW)
end

end
