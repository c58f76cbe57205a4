-- States of a network that are filled: one step of it. What the steps are for is in redis_states.py.
--
-- KEYS     as for the other scripts
-- ARGV[1]  the step, ARGV[2] the network, ARGV[3...] what the step is told

local base, network, call, pack, decode, sub = KEYS[1], ARGV[2], redis.call, struct.pack, struct.unpack, string.sub
local laid, meta = base .. 'w' .. network, call('GET', base)
local steps = {}

-- Brings the states that lie in a field to their places; told how long a value may be idle.
function steps.pour(field, idle)
  local items = call('HGET', laid, field)
  if not items then
    return 0
  end
  local clock, epoch = decode('<d', meta, 9), string.format('%.0f', decode('<d', meta, #meta - 7))
  local pos, names = 1, {}
  while pos <= #items do
    local digest, length, at = decode('<c16I4', items, pos)
    local name, mark, latest, tie = 'h' .. digest .. network, 0, 0, 0
    local _, head = nil, call('GETRANGE', base .. name, '0', '27')
    if head ~= '' and clock - decode('<d', head, 9) <= tonumber(idle) then
      mark, _, latest, tie = decode('<dddI4', head)
    end
    call('SET', base .. name, pack('<dddI4', mark, clock, latest, tie) .. sub(items, at, at + length - 1))
    names[#names + 1], pos = name, at + length
  end
  call('SADD', base .. 's' .. epoch, unpack(names))
  return call('HDEL', laid, field)
end

-- Sets the position; told who fills, what the states that were laid down are called, and the position. 0: somebody else fills, or nobody.
function steps.commit(by, called, position)
  if call('HGET', laid, 'by') ~= by or call('HEXISTS', base .. 'w', network) == 1 then
    return 0
  end
  call('HSET', laid, 'called', called, 'at', position)
  return 1
end

-- The newest number: what came up to it the network has seen, and the log as far as it was applied.
function steps.adopt()
  local held = call('HGETALL', base .. 'p')
  if #held > 0 then
    call('HSET', base .. 'k' .. network, unpack(held))
  end
  return call('HSET', base .. 'w', network, string.format('%.0f', meta and decode('<d', meta) or 0))
end

-- The states of the digests that are told one behind the other, each behind its length; told how long a value may be idle.
function steps.read(digests, idle)
  local found, clock = {}, meta and decode('<d', meta, 9) or 0
  for at = 1, #digests, 16 do
    local bytes = call('GET', base .. 'h' .. sub(digests, at, at + 15) .. network)
    local alive = bytes and clock - decode('<d', bytes, 9) <= tonumber(idle)
    found[#found + 1] = alive and sub(bytes, 29) or ''
  end
  return found
end

-- Up to where the network has seen the log: for each source the partition, the offset behind what it saw before, and the one behind what
-- it saw now. The error LOST where less than the former is held. Behind the states that have seen it.
function steps.through(...)
  local told = { ... }
  for i = 1, #told, 3 do
    local held = call('HGET', base .. 'k' .. network, told[i])
    local at = held and decode('<d', held) or 0
    if at < tonumber(told[i + 1]) then
      return redis.error_reply(string.format('LOST %s %s %.0f %.0f', told[i], told[i + 1], at, meta and decode('<d', meta) or 0))
    end
    call('HSET', base .. 'k' .. network, told[i], pack('<d', math.max(at, tonumber(told[i + 2]))))
  end
  return 0
end

return steps[ARGV[1]](unpack(ARGV, 3))
