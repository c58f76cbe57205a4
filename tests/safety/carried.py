"""The lines that keep what networks carry; part of the table in lines.py."""

from __future__ import annotations

from tests.safety.line import Line

CARRIED = "tests/contract/test_carried.py::"
KEPT = "tests/contract/test_carried_kept.py::"

LINES = (
    Line(
        "features/states.py",
        "            elif (stored := network.written.get(kept[:2], 0)) < kept.before:\n",
        "            elif (stored := network.written.get(kept[:2], 0)) < 0:\n",
        "states that follow some that are lost are noticed",
        KEPT + "test_states_that_follow_something_lost_are_noticed_though_nothing_that_was_applied_is_lost",
    ),
    Line(
        "features/script/filled.lua",
        "    if at < tonumber(told[i + 1]) then\n",
        "    if false then\n",
        "the same in Redis",
        KEPT + "test_states_that_follow_something_lost_are_noticed_though_nothing_that_was_applied_is_lost",
    ),
    Line(
        "features/states.py",
        "            found.mark, found.touched = number - 1, entry.stamp\n",
        "            found.touched = entry.stamp\n",
        "a value that was forgotten begins a new life, which goes on from no state of the one before",
        CARRIED + "test_whoever_dies_answers_and_states_are_those_of_a_day_without_faults",
    ),
    Line(
        "features/states.py",
        "        return kept.before == mark or (kept.before < mark and mark in numbers)\n",
        "        return True\n",
        "no state is written that does not go on from the one that is stored",
        KEPT + "test_a_way_that_leads_through_the_stored_mark_goes_on",
    ),
    Line(
        "features/script/kept.lua",
        "after <= mark or after > latest or not is_last",
        "after <= mark or not is_last",
        "no state has seen an event that Redis does not hold (any more)",
        KEPT + "test_a_state_of_an_event_that_the_store_does_not_hold_is_refused",
    ),
    Line(
        "features/script/kept.lua",
        "  if before ~= mark and (before > mark or not among(mark, numbers)) then\n",
        "  if false then\n",
        "the same in Redis",
        KEPT + "test_a_way_that_leads_through_the_stored_mark_goes_on",
    ),
    Line(
        "features/script/kept.lua",
        "    return tie == last\n",
        "    return true\n",
        "a state of an event that was lost and came again under another number is not written",
        KEPT + "test_a_state_of_an_event_that_has_another_number_by_now_is_refused",
    ),
    Line(
        "features/script/kept.lua",
        "  block[at] = block[at] or bytes\n",
        "",
        "what a network answered is told again",
        KEPT + "test_an_event_that_comes_again_is_told_the_first_answer_and_a_state_that_has_seen_it",
    ),
    Line(
        "features/script/carried.lua",
        "    if not alive and answer then -- it was forgotten with its state\n",
        "    if false then\n",
        "an event that was answered is stepped no second time after its value was forgotten",
        KEPT + "test_an_event_that_was_answered_is_not_stepped_again_after_its_value_was_forgotten",
    ),
    Line(
        "features/script/carried.lua",
        "    local alive = clock - state.touched <= idle\n",
        "    local alive = state.stored\n",
        "a state is forgotten with its value",
        KEPT + "test_a_state_is_forgotten_with_its_value_by_the_clock_of_the_store",
    ),
    Line(
        "features/redis_states.py",
        "            self._waiting.extendleft(reversed(waiting))\n",
        "",
        "a state that waits to be written back is not lost with the connection",
        KEPT + "test_what_waits_is_not_lost_with_a_connection",
    ),
    Line(
        "features/redis_states.py",
        "        self._finish(network)\n        entity, idle",
        "        entity, idle",
        "a filler that was killed leaves states of one position",
        KEPT + "test_a_filler_that_is_killed_at_any_step_leaves_states_of_one_position",
    ),
    Line(
        "features/script/filled.lua",
        "  if call('HGET', laid, 'by') ~= by or call",
        "  if call",
        "a filler that was replaced sets no position",
        KEPT + "test_a_filler_that_was_replaced_writes_nothing_more",
    ),
    Line(
        "features/redis_copy.py",
        '    return behind in (b"", b"p") or behind.startswith((b"w", b"k"))\n',
        '    return behind in (b"", b"p")\n',
        "a copy made key by key is of one position of a filler",
        KEPT + "test_a_copy_of_a_store_has_what_its_networks_carry",
    ),
)
