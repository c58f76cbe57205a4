-- Applies a batch of events and labels to the feature state, atomically. It orders, counts and adds integers; the
-- meaning of every number is in compute.py. windows.py does the same in memory: function by function, the names agree.
--
-- KEYS[1]  the store's base key; every other key begins with it. KEYS[2], on a cluster: a key that never exists (redis_cluster.py)
-- ARGV[1]  the plan (msgpack), ARGV[2] the items (packed: packing.py; on a cluster also ticks of the clock and up to which clock
--          all is answered, which are not answered, and claims: shards.py, homes.lua)
-- ARGV[3]  the highest seq that the caller was ever told, then for each source (a run of a log's partition) the offset
--          behind what was applied before it, the offset behind it, how many items lie before it and in it
-- ARGV[4]  the offsets of the items that have a source; ARGV[5...] the sources' names. All of these or none
-- Answer   the seq, then one msgpack array: status, seq, marks (APPROXIMATE, WIDE), raw of each item. Or the error BEHIND, with the
--          source's number, how far it is held and the seq: this server has lost what it had acknowledged, and nothing has changed
--
-- Keys after the base: "t"/"l" + digest: a log of an entity's events/labels (a header of doubles, then the records);
-- "d" + digest: its counts of distinct values; "c" + digest: its labels taken back; "f"/"g" + digest: what was folded of
-- its events/labels (folds.lua); "i" + epoch + ":" + shard: event
-- ids; "h" + digest + network: what it carries, "a" + network + ":" + block: what it answered, "w": which networks were adopted, "w" +
-- network: how far it is filled, "k" + network: how far
-- it has seen each partition; "s" + epoch: logs, states and blocks of answers that were added to in an epoch; "p": how far each partition was applied.
-- "x", "y": what a home noted (homes.lua).
-- Amounts are two limbs, since Lua's doubles end at 2^53; an answer is one number where that holds it, else an array of both
-- (WIDE). Events in order go through `follow`, which does in one pass what insert, read and trim do step by step.

local base, plan, items = KEYS[1], cmsgpack.unpack(ARGV[1]), ARGV[2]
local call, pack, decode, encode = redis.call, struct.pack, struct.unpack, cmsgpack.pack
local min, max, floor, abs = math.min, math.max, math.floor, math.abs
local sub, rep, char, byte, INF, NEVER = string.sub, string.rep, string.char, string.byte, math.huge, -9007199254740992

local APPROXIMATE, WIDE, AGAIN = 1, 2, 1
local LIMB, EXACT = 4294967296, 9007199254740992
local FRESH, DUPLICATE, CONFLICT, LATE = 0, 1, 2, 3
local LABELLED, LABEL_DUPLICATE, LABEL_PENDING, LABEL_LATE = 4, 5, 6, 7

-- A log's header: these, then for each window tail, time at the tail, sum (high, low); where they are asked for lowest and
-- highest amount and the sum of the squares (four limbs); and of each field the first three numbers of `counts_of`.
local N, HEAD, NEWEST, FLOOR, FLOOR_TIE, TOUCHED, CLOCK, FRONT, FRONT_TIME, HEAD_TIME, TAKEN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local FIRST, DUE, FIXED = 12, 13, 13 -- DUE: at which newest time buckets of what was folded join or leave
-- Behind its windows, where they are asked for: the run that the labels up to FRONT end with (its kind, length, first and last
-- time), and the time of the last label before it. Its kind is 1 for frauds, 0, NO_RUN, or UNKNOWN until it is looked up.
local RUN_SIZE, NO_RUN, UNKNOWN = 5, -1, -2
-- Then, where it is asked for, the time of the first fraud (NEVER: to be looked up; INF: none), and of the first that has left.
local EVENT, LABEL = '<c16c8ddI4dd', '<c16c8I4Bdc8'
local RECORD, RECORD_SIZE = '<dI4i4I4', 20 -- then its square, where that is asked for, a digest of each field, and its place
local NOWHERE = -2147483648
local PLACE, PLACE_SIZE = '<dI4', 12 -- what a record begins with
local AMOUNT = '<i4I4' -- what follows that
local SQUARE, SQUARE_SIZE = '<I4I4I4I4', 16
local CORRECTION, CORRECTION_SIZE = '<c8dI4Bd', 29
local ENTRY, ENTRY_SIZE = '<dddc8BI2', 35
local SAID, SAID_SIZE = '<c8I4Bddc8', 37
local NOTHING, NO_DIGEST = rep('\0', 8), rep('\0', 16)
local COMPACT_AT = 32
local SOME = 1000 -- arguments of one call
local WHOLE = 26 -- so many records are read with a log's header: most logs whole

-- the store's own state

local meta = call('GET', base)
local seq, clock, cursor, epochs = 0, NEVER, 0, {}
if meta then
  seq, clock, cursor = decode('<ddd', meta)
  for at = 25, #meta, 8 do
    epochs[#epochs + 1] = decode('<d', meta, at)
  end
end

local moved = {} -- by the name of a partition: how far it is held once this is applied
local again, placed = {}, 0 -- numbers of the items that lie below how far it was held; items with an offset so far
if ARGV[3] then
  local seen = decode('<d', ARGV[3])
  for i = 5, #ARGV do
    local name, before, after, first, count = ARGV[i], decode('<dddd', ARGV[3], 32 * i - 151)
    local stored = moved[name] or call('HGET', base .. 'p', name)
    local position = moved[name] or (stored and decode('<d', stored)) or 0
    if position < before or seq < seen then
      return redis.error_reply(string.format('BEHIND %d %.0f %.0f', i - 5, position, seq))
    end
    for n = 1, position > before and count or 0 do
      again[first + n] = decode('<d', ARGV[4], 8 * (placed + n) - 7) < position
    end
    placed = placed + count
    moved[name] = max(position, after)
  end
end

-- Where an item lies: in which partition, and at most at which offset; nil where its source is not told.
local function place_of(number)
  local before = 0
  for i = 5, #ARGV do
    local _, _, first, count = decode('<dddd', ARGV[3], 32 * i - 151)
    if number > first and number <= first + count then
      return ARGV[i] .. sub(ARGV[4], 8 * (before + number - first) - 7, 8 * (before + number - first))
    end
    before = before + count
  end
  return nil
end

-- Up to which clock everything was answered: what is forgotten by then may leave. A store of several shards is told.
local settled = (plan.home or plan.sharded) and NEVER or INF

local since, turn = INF, -INF -- the epoch of the clock is [since, turn)

local function tick(arrived)
  clock = arrived > clock and arrived or clock
  if clock >= turn then
    local epoch = floor(clock / plan.epoch)
    if epochs[#epochs] ~= epoch then
      epochs[#epochs + 1] = epoch
    end
    since, turn = epoch * plan.epoch, (epoch + 1) * plan.epoch
  end
end
