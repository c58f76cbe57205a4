"""The lines that let a network read each card's events once and in order, and hold no decision up."""

from __future__ import annotations

from tests.safety.line import Line

WAY = "tests/unit/stream/test_sequence.py::"
UNDISTURBED = (
    WAY + "test_batches_cut_anywhere_kills_redeliveries_and_a_zombie_change_neither_scores_nor_states"
)
TIMELY = "tests/unit/stream/test_timely.py::"
ADOPTING = "tests/unit/stream/test_adopting.py::"
CONVEYOR = "tests/unit/stream/test_conveyor.py::"

READING = (
    Line(
        "stream/sequence.py",
        "        mark, state = held[0] if held is not None and held[0].mark > carried.mark else carried\n",
        "        mark, state = carried\n",
        "a card's events go on from the state that is on its way to the store, where that is ahead",
        UNDISTURBED,
    ),
    Line(
        "stream/sequence.py",
        "        way.until = self._begun  # what is begun later finds it in the store\n",
        "        way.until = 0\n",
        "a state on its way is kept until all that was applied before it was stored is answered",
        UNDISTURBED,
    ),
    Line(
        "stream/sequence.py",
        "            if number > stretch.after:\n",
        "            if number:\n",
        "an event that a state has seen is not read again",
        UNDISTURBED,
    ),
    Line(
        "stream/sequence.py",
        "        return self._answers.get(event_id, (UNTOLD, 0))[0]\n",
        "        return UNTOLD\n",
        "a repetition gets the answer that is still on its way to the store",
        WAY + "test_a_repetition_gets_the_first_answer_while_that_is_on_its_way_to_the_store",
    ),
    Line(
        "stream/sequence.py",
        "        with self._writing:  # another batch that is being applied may have taken it along\n"
        "            self.store.flush()\n",
        "        self.store.flush()\n",
        "a batch is done only when its states are stored, though another batch takes them along",
        WAY + "test_a_batch_whose_states_another_one_takes_along_waits_for_that",
    ),
    Line(
        "stream/conveyor.py",
        "            await in_thread(work.settle, executor=self._settling)\n",
        "            pass\n",
        "a chunk is done only once what a network carries is stored",
        CONVEYOR + "test_a_batch_is_done_only_once_what_a_network_carries_is_stored",
    ),
    Line(
        "stream/conveyor.py",
        "        changes = self._role.due\n        if little or batch[0].suspected or changes:\n",
        "        changes = self._role.due\n        if little or batch[0].suspected:\n",
        "a network changes only with nothing in hand",
        CONVEYOR + "test_a_change_is_made_with_nothing_in_hand",
    ),
    Line(
        "stream/score.py",
        "            held = {place: min(offset, seen.get(place, 0)) for place, offset in held.items()}\n",
        "            pass\n",
        "a worker reads again what the store has applied and its network has not seen",
        "tests/unit/stream/test_score.py::test_a_scorer_reads_from_where_its_network_has_seen_the_log",
    ),
    Line(
        "stream/timely.py",
        "        if self._running is not None and not self._running.done():\n",
        "        if False:\n",
        "a network that is late holds up no second batch",
        TIMELY + "test_a_late_network_is_decided_without_and_reads_what_it_missed_before_what_comes_next",
    ),
    Line(
        "stream/timely.py",
        "            made = running.result(self._seconds)\n",
        "            made = running.result()\n",
        "no decision waits for a network longer than it may",
        TIMELY + "test_no_batch_waits_longer_than_the_deadline",
    ),
    Line(
        "stream/timely.py",
        "        except Exception as error:  # noqa: BLE001 - whatever a network or its device raises, decisions go on\n",
        "        except KeyError as error:\n",
        "a network that fails ends no process",
        TIMELY + "test_a_network_that_fails_rests_and_is_tried_again_by_itself",
    ),
    Line(
        "stream/sequence.py",
        "        made = [after or self._missed(series) for after, series in zip(read, asked, strict=True)]\n",
        "        made = [after or Advanced(series.state, [UNTOLD] * len(series.vectors)) for after, series in zip(read, asked)]\n",
        "what a network missed it reads before that card's next event",
        TIMELY + "test_a_late_network_is_decided_without_and_reads_what_it_missed_before_what_comes_next",
    ),
    Line(
        "stream/adopting.py",
        "            self._store.adopt(offer.network)  # so that who dies before any state is stored is gone on with\n",
        "",
        "who died before any state was stored is gone on with from the first event",
        ADOPTING + "test_who_died_before_any_state_was_stored_is_gone_on_with",
    ),
    Line(
        "stream/adopting.py",
        "        if any(held.get(place, 0) > reached for place, reached in self._reached.items()):\n",
        "        if False:\n",
        "a network is adopted only when all that was applied is decided, and so filled",
        ADOPTING + "test_what_was_applied_and_never_decided_is_decided_before_a_network_is_adopted",
    ),
    Line(
        "stream/filling_states.py",
        "            if not card or made.late or made.seq <= self._last.get(card, 0):\n",
        "            if not card or made.late:\n",
        "an event that was decided twice is filled once",
        ADOPTING + "TestFilling::test_an_event_that_is_decided_twice_or_late_counts_once_or_not_at_all",
    ),
)
