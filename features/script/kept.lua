-- Writes states of networks back, each as one or not at all. A script of its own: it comes before the batches (states.py: States.write).
--
-- KEYS     as for the other script
-- ARGV[1]  shelves of an epoch's ids, an epoch's length, how long a value may be idle; ARGV[2]  the states (packed_states.py)
-- Answer   how many were refused

local base, items, call = KEYS[1], ARGV[2], redis.call
local decode, pack, sub, byte, max, floor = struct.unpack, struct.pack, string.sub, string.byte, math.max, math.floor
local shelves, length_of_epoch, idle = decode('<ddd', ARGV[1])
local BLOCK, ANSWER, NOTHING = 512, 32, string.rep('\0', 8)
local meta = call('GET', base)
local clock, epochs = -math.huge, {}
if meta then
  clock = decode('<d', meta, 9)
  for at = 25, #meta, 8 do
    epochs[#epochs + 1] = decode('<d', meta, at)
  end
end

local function text(number)
  return string.format('%.0f', number)
end

-- The number of an event by its id, 0 where it is not known: as `recall` finds it.
local function number_of(id)
  local first, second = byte(id, 1, 2)
  local number = (first * 256 + second) % shelves
  local shard = ':' .. string.char(floor(number / 256), number % 256)
  for i = #epochs, 1, -1 do
    local entry = call('HGET', base .. 'i' .. text(epochs[i]) .. shard, id)
    if entry then
      return decode('<d', entry, 9)
    end
  end
  return 0
end

-- The numbers of answers, by their ids where the caller does not know them any more.
local function numbers_of(answers)
  local numbers = {}
  for at = 1, #answers, ANSWER do
    local number = decode('<d', answers, at + 16)
    numbers[#numbers + 1] = number > 0 and number or number_of(sub(answers, at, at + 15))
  end
  return numbers
end

-- Whether the last event that a state has seen is the one of its number here; one that is forgotten may be.
local function is_last(latest, tie, after, last, answers)
  if answers == '' then
    return true
  elseif after == latest then
    return tie == last
  end
  local number = number_of(sub(answers, -ANSWER, 15 - ANSWER))
  return number == 0 or number == after
end

local function among(mark, numbers)
  for _, number in ipairs(numbers) do
    if number == mark then
      return true
    end
  end
  return false
end

local adopted, blocks = {}, {}

local function answer(network, number, bytes)
  local name = 'a' .. network .. ':' .. text(floor(number / BLOCK))
  local block, at = blocks[name], number % BLOCK
  if not block then
    block = { low = at, high = at }
    blocks[name] = block
  end
  block[at] = block[at] or bytes
  block.low, block.high = math.min(block.low, at), max(block.high, at)
end

-- Puts answers where there is none yet.
local function write(name, block)
  local key = base .. name
  local first, last = 16 + 8 * block.low, 16 + 8 * block.high
  local there, pieces = call('GETRANGE', key, first, last + 7), {}
  for at = block.low, block.high do
    local from = 8 * (at - block.low)
    local held = from < #there and sub(there, from + 1, from + 8) or NOTHING
    pieces[#pieces + 1] = held == NOTHING and block[at] or held
  end
  call('SETRANGE', key, first, table.concat(pieces))
  local epoch = epochs[#epochs]
  if decode('<d', call('GETRANGE', key, '8', '15')) < epoch * length_of_epoch then
    call('SETRANGE', key, '8', pack('<d', clock))
    call('SADD', base .. 's' .. text(epoch), name)
  end
end

local function keep(network, digest, before, after, tie, answers, state)
  local key = base .. 'h' .. digest .. network
  local head = call('GETRANGE', key, '0', '27')
  if head == '' then
    return false
  end
  local mark, touched, latest, its = decode('<dddI4', head)
  adopted[network] = adopted[network] or tonumber(call('HGET', base .. 'w', network) or 0)
  mark = max(mark, adopted[network])
  if clock - touched > idle or after <= mark or after > latest or not is_last(latest, its, after, tie, answers) then
    return false
  end
  local numbers = numbers_of(answers)
  if before ~= mark and (before > mark or not among(mark, numbers)) then
    return false
  end
  call('SET', key, pack('<d', after) .. sub(head, 9) .. state)
  for i, number in ipairs(numbers) do
    local bytes = sub(answers, ANSWER * i - 7, ANSWER * i)
    if number > 0 and bytes ~= NOTHING then
      answer(network, number, bytes)
    end
  end
  return true
end

local pos, refused = 1, 0
while pos <= #items do
  local size, digest, before, after, tie, count, length, at = decode('<Bc16ddI4I4I4', items, pos)
  local behind = at + size + ANSWER * count
  local network, answers = sub(items, at, at + size - 1), sub(items, at + size, behind - 1)
  if not keep(network, digest, before, after, tie, answers, sub(items, behind, behind + length - 1)) then
    refused = refused + 1
  end
  pos = behind + length
end
for name, block in pairs(blocks) do
  write(name, block)
end
return refused
