-- Writes states of networks back, each as one or not at all. A script of its own: it comes before the batches (states.py: States.keep).
--
-- KEYS  as for the other script. ARGV[1]  shelves of an epoch's ids, how long a value may be idle; ARGV[2]  the states (packed_states.py)
-- Answer   how many were refused

local base, items, call = KEYS[1], ARGV[2], redis.call
local decode, pack, sub, byte, max = struct.unpack, struct.pack, string.sub, string.byte, math.max
local shelves, idle = decode('<dd', ARGV[1])
local meta = call('GET', base)
local clock, epochs = -math.huge, {}
if meta then
  clock = decode('<d', meta, 9)
  for at = 25, #meta, 8 do
    epochs[#epochs + 1] = string.format('%.0f', decode('<d', meta, at))
  end
end

-- The end of the key that the entry of an event's id lies in, and the entry, or that there is one: as `recall` finds it.
local function entry_of(id, command)
  local first, second = byte(id, 1, 2)
  local number = (first * 256 + second) % shelves
  local shard = ':' .. string.char(math.floor(number / 256), number % 256)
  for i = #epochs, 1, -1 do
    local found = call(command, base .. 'i' .. epochs[i] .. shard, id)
    if found and found ~= 0 then
      return epochs[i] .. shard, found
    end
  end
end

local function number_of(id)
  local _, entry = entry_of(id, 'HGET')
  return entry and decode('<d', entry, 9) or 0
end

local function passes(mark, answers)
  for at = 1, #answers, 24 do
    if number_of(sub(answers, at, at + 15)) == mark then
      return true
    end
  end
  return false
end

local adopted = {}

local function goes_on(mark, latest, before, after, answers)
  if after <= mark or after > latest then
    return false
  end
  local last = #answers > 0 and number_of(sub(answers, -24, -9)) or 0
  if last ~= 0 and last ~= after then
    return false
  end
  return before == mark or (before < mark and passes(mark, answers))
end

local function keep(network, digest, before, after, answers, state)
  local key = base .. 'h' .. digest .. network
  local head = call('GETRANGE', key, '0', '23')
  if head == '' then
    return false
  end
  local mark, touched, latest = decode('<ddd', head)
  adopted[network] = adopted[network] or tonumber(call('HGET', base .. 'w', network) or 0)
  if clock - touched > idle or not goes_on(max(mark, adopted[network]), latest, before, after, answers) then
    return false
  end
  call('SET', key, pack('<ddd', after, touched, latest) .. state)
  for at = 1, #answers, 24 do
    local id = sub(answers, at, at + 15)
    local shelf = entry_of(id, 'HEXISTS')
    if shelf then
      call('HSETNX', base .. 'a' .. shelf, id .. network, sub(answers, at + 16, at + 23))
    end
  end
  return true
end

local pos, refused = 1, 0
while pos <= #items do
  local size, digest, before, after, count, length, at = decode('<Bc16ddI4I4', items, pos)
  local network, answers = sub(items, at, at + size - 1), sub(items, at + size, at + size + 24 * count - 1)
  at = at + size + 24 * count
  if not keep(network, digest, before, after, answers, sub(items, at, at + length - 1)) then
    refused = refused + 1
  end
  pos = at + length
end
return refused
