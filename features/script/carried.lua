-- What a network carries (states.py does the same in memory). A state lies beside the logs of its value, in a key of its own: "h",
-- digest, id of the network: mark, touched and latest, then its bytes. What the network answered lies beside the event ids ("a" for
-- "i"), by id and network. Which network is carried is part of the plan; where none is, nothing of this runs.

local carry, told_carried, write_carried

if plan.carried then
  local network, idle = plan.carried.network, plan.carried.idle
  local adopted = tonumber(call('HGET', base .. 'w', network) or 0)
  local states, changed = {}, {} -- by digest; those that changed
  local shown, of_answer = {}, {} -- what is told of states; of each answer, which of these
  local told = {} -- what was answered first to events that came again
  local nothing -- which of `shown` tells of a value that has no state

  local function look_up(digest)
    local key = base .. 'h' .. digest .. network
    local bytes = call('GET', key)
    local state = { key = key, name = 'h' .. digest .. network, stored = bytes and true, touched = NEVER }
    if bytes then
      state.mark, state.touched, state.latest = decode('<ddd', bytes)
      state.bytes = sub(bytes, 25)
    end
    states[digest] = state
    return state
  end

  local function begin(state, number, stamp)
    state.mark, state.touched, state.latest, state.bytes = number - 1, stamp, 0, ''
    state.stored, state.shown = false, nil
  end

  -- A new event of a value.
  local function follow(state, number, stamp)
    if not state.changed then
      state.changed = true
      changed[#changed + 1] = state
    end
    state.due = state.due or not state.stored or state.touched < since
    state.touched, state.latest = max(state.touched, stamp), number
  end

  local function show(mark, bytes)
    shown[#shown + 1] = pack('<dI4', mark, #bytes) .. bytes
    return #shown
  end

  -- Called of an event that is answered as the one `at`. `number` and `stamp` (the clock then) are of its first time, 0 where it was too late; of
  -- one that comes again `id` and the key of its entry too.
  carry = function(event, at, number, stamp, id, shelf)
    local digest = event.whose
    if digest == NO_DIGEST then
      return
    end
    local answer = id and call('HGET', base .. 'a' .. sub(shelf, #base + 2), id .. network)
    if answer then
      told[#told + 1] = pack('<H', at - 1) .. answer
    end
    local state = states[digest] or look_up(digest)
    local alive = clock - state.touched <= idle
    if not alive and answer then -- it was forgotten with its state
      of_answer[at] = show(max(number, adopted), '')
      return
    end
    if not alive and number > adopted then
      begin(state, number, stamp)
      alive = true
    end
    if not alive then
      nothing = nothing or show(adopted, '')
      of_answer[at] = nothing
      return
    end
    if number > state.latest then
      follow(state, number, stamp)
    end
    state.shown = state.shown or show(max(state.mark, adopted), state.bytes)
    of_answer[at] = state.shown
  end

  -- Behind the answers: of each of them which state it has (0: none), what was answered before, the states; and how long all this is.
  told_carried = function(answered)
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

  write_carried = function()
    for _, state in ipairs(changed) do
      if state.stored then
        call('SETRANGE', state.key, '8', pack('<dd', state.touched, state.latest))
      else
        call('SET', state.key, pack('<ddd', state.mark, state.touched, state.latest) .. state.bytes)
      end
      if state.due then
        call('SADD', base .. 's' .. epochs[#epochs], state.name)
      end
    end
    return #changed
  end
end
