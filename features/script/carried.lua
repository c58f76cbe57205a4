-- What a network carries (states.py does the same in memory). A state lies beside the logs of its value, in a key of its own: "h",
-- digest, id of the network: mark, touched, latest and the tie of that event, then its bytes. What the network answered lies by the
-- events' numbers, in blocks ("a", network, ":", number of the block): the second eight bytes say when a block was touched, then come
-- eight for each event, zeros for no answer. Which network is carried is part of the plan; where none is, nothing of this runs.

local carry -- nil where nothing is carried; else what is done for an event, before the answer goes, and in the end

if plan.carried then
  carry = {}
  local network, idle = plan.carried.network, plan.carried.idle
  local adopted = tonumber(call('HGET', base .. 'w', network) or 0)
  local states, changed = {}, {} -- by digest; those that changed
  local shown, count, of_answer = {}, 0, {} -- what is told of states; of each answer, which of these
  local told, BLOCK = {}, 512 -- what was answered first to events that came again
  local nothing -- which of `shown` tells of a value that has no state

  local HEAD = rep('\0', 28) -- before the bytes of a state

  local function look_up(digest)
    local key = base .. 'h' .. digest .. network
    local bytes = call('GET', key)
    local state = { key = key, name = 'h' .. digest .. network, stored = bytes and true, touched = NEVER }
    if bytes then
      state.mark, state.touched, state.latest = decode('<ddd', bytes)
      state.bytes = bytes
    end
    states[digest] = state
    return state
  end

  local function begin(state, number, stamp)
    state.mark, state.touched, state.latest, state.bytes = number - 1, stamp, 0, HEAD
    state.stored, state.shown = false, nil
  end

  -- A new event of a value.
  local function follow(state, number, stamp, tie)
    if not state.changed then
      state.changed = true
      changed[#changed + 1] = state
    end
    state.due = state.due or not state.stored or state.touched < since
    state.touched, state.latest, state.tie = max(state.touched, stamp), number, tie
  end

  local function show(mark, bytes)
    count = count + 1
    shown[2 * count - 1], shown[2 * count] = pack('<dI4', mark, #bytes), bytes
    return count
  end

  local function answer_to(number)
    local at = 8 * (number % BLOCK) + 16
    local key = base .. 'a' .. network .. ':' .. string.format('%.0f', floor(number / BLOCK))
    local bytes = call('GETRANGE', key, at, at + 7)
    return #bytes == 8 and bytes ~= NOTHING and bytes
  end

  -- Called of an event that is answered as the one `at`. `number` and `stamp` (the clock then) are of its first time, 0 where it was
  -- too late; `again`: it came before.
  function carry.of(event, at, number, stamp, again)
    local digest = event.whose
    if digest == NO_DIGEST then
      return
    end
    local answer = again and answer_to(number)
    if answer then
      told[#told + 1] = pack('<H', at - 1) .. answer
    end
    local state = states[digest] or look_up(digest)
    local alive = clock - state.touched <= idle
    if not alive and answer then -- it was forgotten with its state
      of_answer[at] = show(max(number, adopted), HEAD)
      return
    end
    if not alive and number > adopted then
      begin(state, number, stamp)
      alive = true
    end
    if not alive then
      nothing = nothing or show(adopted, HEAD)
      of_answer[at] = nothing
      return
    end
    if number > state.latest then
      follow(state, number, stamp, event.tie)
    end
    state.shown = state.shown or show(max(state.mark, adopted), state.bytes)
    of_answer[at] = state.shown
  end

  -- Behind the answers: of each of them which state it has (0: none), what was answered before, the states; and how long all this is.
  function carry.told(answered)
    local of = {}
    for i = 1, answered do
      of[i] = of_answer[i] or 0
    end
    local behind = pack('<' .. rep('H', answered), unpack(of))
      .. pack('<H', #told)
      .. table.concat(told)
      .. table.concat(shown)
    return behind .. pack('<I4', #behind)
  end

  function carry.write()
    for _, state in ipairs(changed) do
      if state.stored then
        call('SETRANGE', state.key, '8', pack('<ddI4', state.touched, state.latest, state.tie))
      else
        call('SET', state.key, pack('<dddI4', state.mark, state.touched, state.latest, state.tie))
      end
      if state.due then
        call('SADD', base .. 's' .. epochs[#epochs], state.name)
      end
    end
    return #changed
  end
end
