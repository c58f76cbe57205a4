"""The lines that keep the guarantees of the feature store on a cluster."""

from __future__ import annotations

from tests.safety.line import Line

CLUSTER = "tests/contract/test_cluster_store.py::"
LOSSES = "tests/contract/test_cluster_losses.py::"

ON_A_CLUSTER = (
    Line(
        "features/shards.py",
        "            if home.status is Status.CONFLICT:\n",
        "            if False:\n",
        "an id's home refuses another content, whichever entities that names",
        CLUSTER + "test_the_same_id_for_another_content_is_refused_whichever_entities_it_names",
    ),
    Line(
        "features/shards.py",
        "            calls[-1].items.append(TICK + TIME.pack(self._clock))\n",
        "            pass\n",
        "a shard to which nothing falls forgets when the others do",
        CLUSTER + "test_every_shard_forgets_by_the_clock_of_all",
    ),
    Line(
        "features/script/homes.lua",
        "sure and early(known) or noted(EARLY, number, id, event) or NO_RAW)\n",
        "NO_RAW)\n",
        "a label that came before its event is not lost with the worker that died between home and shards",
        CLUSTER + "test_a_label_that_came_first_follows_its_event_though_a_worker_died_between",
    ),
    Line(
        "features/script/homes.lua",
        "    note(REFUSED, number, id, event, '')\n",
        "",
        "what a home refused is refused when a shard that lost it reads it again, however long after",
        LOSSES + "test_what_was_refused_is_refused_when_it_is_read_again_long_after",
    ),
    Line(
        "features/script/homes.lua",
        "  return remembered and known and known.seq > 0\n",
        "  return known and known.seq > 0\n",
        "an id that another took since does not keep its first use from a shard that lost it",
        LOSSES + "test_an_id_that_is_another_s_by_now_counts_where_its_first_use_was_lost",
    ),
    Line(
        "features/script/homes.lua",
        "    note(EARLY, number, id, event, told)\n",
        "",
        "a label that came before its event is not lost with the shard that lost both long ago",
        LOSSES + "test_a_label_that_came_first_follows_its_event_to_a_shard_that_lost_it_long_ago",
    ),
    Line(
        "features/shards.py",
        "            yield from ((shard, guess) for shard in range(self.count))\n",
        "            yield from ()\n",
        "a label is not lost whose event is older than its home remembers",
        LOSSES + "test_a_label_counts_where_it_was_lost_though_its_event_is_older_than_ids_are_remembered",
    ),
    Line(
        "features/script/items.lua",
        "is_same(each, said) and where(entry) or NO_RAW)\n",
        "where(entry))\n",
        "a label counts as the first of its id says, though a worker died between home and shards",
        LOSSES + "test_another_label_of_the_same_id_does_not_go_before_the_one_that_its_home_knows",
    ),
    Line(
        "features/script/ids.lua",
        "and min(clock, settled) - entry.stamp <= plan.memory then\n",
        "and clock - entry.stamp <= plan.memory then\n",
        "what one shard applied of a batch that another refused is answered as it was, though the clock is days ahead",
        LOSSES
        + "test_a_batch_that_spans_more_than_ids_are_remembered_gets_its_first_answers_though_it_came_through_by_halves",
    ),
    Line(
        "features/redis_cluster.py",
        "        return {place: min(each[place] for each in held) for place in everywhere}\n",
        "        return {place: max(each[place] for each in held) for place in everywhere}\n",
        "what any node has lost is read again",
        CLUSTER + "test_what_one_node_lost_is_read_again_from_where_it_stands",
    ),
    Line(
        "features/redis_cluster.py",
        "        keys = (2, base, base + CANARY)\n",
        "        keys = (1, base)\n",
        "no script runs on a slot of which only some keys have moved",
        "tests/contract/test_cluster_moves.py::test_while_a_slot_is_moved_key_by_key_nothing_is_done_by_halves",
    ),
)
