"""The lines that keep Weir's guarantees. To add one: its text as it stands, what stands there instead, what it keeps.

``python -m tests.safety`` writes docs/safety-lines.md from this table; test_safety_lines.py sees each go red.
"""

from __future__ import annotations

from tests.safety import carried
from tests.safety.cluster_lines import ON_A_CLUSTER
from tests.safety.line import Line
from tests.safety.network_lines import NETWORKS
from tests.safety.reading import READING

__all__ = ["LINES", "SCHEDULES", "Line"]

SCHEDULES = 400
"""So many schedules of the simulation at most are run until one goes red."""


CHUNKS = "tests/unit/stream/test_chunks.py::"
COMMITS = "tests/unit/stream/test_marks.py::TestCommits"
FENCE = "tests/contract/test_fence.py::"
LEDGER = "tests/contract/test_ledger.py::"
LOG = "tests/unit/stream/embedded/test_log.py::"
KEPT = "tests/contract/test_kept.py::"
RATES = "tests/unit/features/test_rates.py::"
REVIEW = "tests/unit/stream/review/"
WARMING = "tests/unit/stream/test_warming.py::"

LINES = (
    # --- what a training may see
    Line(
        "stream/gather.py",
        "label.arrived_us < until_us",
        "True",
        "of a file a training knows no label that had not arrived",
        "tests/unit/stream/test_gather.py",
    ),
    Line(
        "stream/review/logged.py",
        "select(c.event_id, c.fraud).where(c.arrived_us < until_us)",
        "select(c.event_id, c.fraud)",
        "of the decisions that were recorded a training knows no label that had not arrived",
        "tests/contract/test_logged.py",
    ),
    Line(
        "models/training.py",
        "Lives(rows.cards[: self.split], labelled[: self.split], whole=whole)",
        "Lives(rows.cards, labelled, whole=whole)",
        "a network does not learn from the period it is judged on",
        "tests/unit/models/test_training.py::test_the_later_period_teaches_nothing_but_when_to_end",
    ),
    # --- the commit
    Line(
        "stream/marks.py",
        "while chunks and chunks[0].is_done:",
        "while chunks:",
        "only what an agent marked done is committed",
        COMMITS,
    ),
    Line(
        "stream/marks.py",
        "        while chunks and chunks[0].is_done:\n            self._after[tp] = chunks.popleft().last + 1\n",
        "        for chunk in chunks:\n            if chunk.is_done:\n                self._after[tp] = chunk.last + 1\n",
        "nothing is committed before what was delivered before it is done",
        COMMITS,
    ),
    Line(
        "stream/chunks.py",
        "        return self.marks.after(TP(*tp))\n",
        "        return (self._read_offset[tp] or 0) + 1\n",
        "what is committed is what was done, not what was read",
    ),
    Line(
        "stream/chunks.py",
        "            self.marks.forget(TP(*tp) for tp in consumer.assignment())\n",
        "",
        "after a seek the chunks delivered before count no more",
        CHUNKS + "test_after_a_seek_the_chunks_delivered_before_count_no_more",
    ),
    Line(
        "stream/marks.py",
        "            self.take(self._open.pop(tp, ()))\n            self._after.pop(tp, None)\n",
        "            self.take(self._open.get(tp, ()))\n",
        "a partition that went to somebody else, or is read anew, keeps no chunk and no mark",
        COMMITS,
    ),
    Line(
        "stream/chunks.py",
        "            if self._moved_since(seeks):\n",
        "            if False:\n",
        "what was fetched beside a seek is not delivered behind it",
        CHUNKS + "test_what_was_fetched_beside_a_seek_is_read_again",
    ),
    Line(
        "stream/chunks.py",
        "        self.marks.forget(TP(*tp) for tp in revoked)\n",
        "",
        "chunks of a partition that was taken away count no more",
        CHUNKS + "test_partitions_that_go_to_others_are_committed_as_far_as_they_are_done",
    ),
    Line(
        "stream/chunks.py",
        "        message.acked = True\n        consumer: Any = self\n        consumer._unacked_messages.discard(message)\n",
        "        message.acked = True\n        consumer: Any = self\n        all_done(message.value)\n",
        "Faust's acknowledgement, which comes when an agent is cancelled too, commits nothing",
        kinds=("stop", "remove"),
    ),
    Line(
        "stream/conveyor.py",
        "        all_done(batch)\n        work.seen.done()\n",
        "        work.seen.done()\n",
        "a chunk that was emitted is committed",
    ),
    Line(
        "stream/conveyor.py",
        "            await self._outlet.send(outputs)\n",
        "            asyncio.ensure_future(self._outlet.send(outputs))\n",
        "a chunk is done only once its outputs are durable",
        kinds=("kill", "point"),
    ),
    Line(
        "stream/agents.py",
        "                tell(error)\n            _die(error)\n",
        "                tell(error)\n            raise error\n",
        "an unexpected error ends the process, so that nothing behind it is committed",
    ),
    Line(
        "stream/agents.py",
        "        if self._running is not None:\n            await self._running\n",
        "",
        "chunks are answered in the order in which they were applied",
        "tests/unit/stream/test_agents.py::test_no_second_half_begins_before_the_one_before_it_ended",
    ),
    Line(
        "stream/kafka.py",
        "        await asyncio.gather(*sends)\n",
        "        for send in sends:\n            asyncio.ensure_future(send)\n",
        "sending returns when everything was acknowledged",
        kinds=("kill", "point"),
    ),
    # --- where a worker begins
    Line(
        "stream/start.py",
        "starts = Starts({tp: min(commit, held.get(tp, 0)) for tp, commit in committed.items()})",
        "starts = Starts(committed)",
        "a worker begins at the lower of its commit and what its store holds",
        kinds=("lose", "empty"),
    ),
    Line(
        "stream/chunks.py",
        "            await self._go_back({tp: max(at, oldest[tp]) for tp, at in starts.items() if at != committed[tp]})\n",
        "",
        "where the store holds less than the commit, the log is read from there",
        kinds=("lose", "empty"),
    ),
    Line(
        "stream/chunks.py",
        "            consumer._committed_offset[FaustTP(*tp)] = offset or None\n",
        "            pass\n",
        "what is done again is committed again, so that a kill on the way loses none of it",
        CHUNKS + "test_a_role_may_begin_before_its_commit_and_then_commits_again_what_it_does_again",
    ),
    Line(
        "stream/start.py",
        "        if 0 < undecided < oldest:\n",
        "        if False:\n",
        "a gap in the log is told, and the worker does not start",
        "tests/unit/stream/test_start.py::test_a_role_without_state_is_told_too",
    ),
    Line(
        "stream/kafka.py",
        "            await (await producer.send_batch(batch, tp.topic, partition=tp.partition))\n",
        "            asyncio.ensure_future(await producer.send_batch(batch, tp.topic, partition=tp.partition))\n",
        "a produce batch that failed is an error, and nothing is sent behind it: an id's first decision counts",
        "tests/unit/stream/test_kafka_outlet.py::test_what_comes_behind_a_refused_batch_is_not_sent",
    ),
    Line(
        "stream/start.py",
        "            if max(commit, held) <= ends[tp]:\n",
        "            if True:\n",
        "a log that ends before what was made of it is refused: its next records would be taken for known ones",
        "tests/unit/stream/test_start.py::test_a_log_that_ends_before_what_was_made_of_it_is_refused_whatever_was_accepted",
    ),
    # --- the store
    Line(
        "stream/conveyor.py",
        "    return Taken(chunk.records, Source(*chunk.tp, chunk.before, chunk.last + 1), chunk.condemned)\n",
        "    return Taken(chunk.records, None, chunk.condemned)\n",
        "every chunk names what must have been applied before it",
        kinds=("lose", "empty"),
    ),
    Line(
        "features/store.py",
        "        if stored < source.before:\n",
        "        if False:\n",
        "a chunk that follows something that the store has lost is refused",
        FENCE + "test_an_empty_store_refuses_what_follows_something",
    ),
    Line(
        "features/store.py",
        "        if again or event.arrived_us - event.time_us > self._remember_us:\n",
        "        if event.arrived_us - event.time_us > self._remember_us:\n",
        "what is read again when its id is forgotten counts no second time",
        FENCE + "test_what_is_read_again_when_its_ids_are_forgotten_counts_no_second_time",
    ),
    Line(
        "features/script/items.lua",
        "  if again[number] or event.arrived - event.time > plan.remember then\n",
        "  if event.arrived - event.time > plan.remember then\n",
        "the same in Redis",
        FENCE + "test_what_is_read_again_when_its_ids_are_forgotten_counts_no_second_time",
    ),
    Line(
        "features/store.py",
        "        self._positions[place] = max(stored, source.after)\n",
        "        self._positions[place] = source.after\n",
        "a worker that was thought dead takes the store's position not back",
        FENCE + "test_a_position_never_goes_back",
    ),
    Line(
        "features/script/state.lua",
        "  if position < before or seq < seen then\n",
        "  if seq < seen then\n",
        "Redis refuses what follows something that it has lost",
        FENCE + "test_an_empty_store_refuses_what_follows_something",
    ),
    Line(
        "features/script/state.lua",
        "  if position < before or seq < seen then\n",
        "  if position < before then\n",
        "Redis refuses a client that was told of more events than it holds",
        FENCE + "test_a_loss_that_another_partition_does_not_show_is_seen_by_the_number_of_events",
    ),
    Line(
        "features/redis_store.py",
        "        self._seen = max([self._seen, *(int(SEQ.unpack_from(reply)[0]) for reply in replies)])\n",
        "        self._seen = 0\n",
        "a client remembers how much there was",
        FENCE + "test_a_loss_that_another_partition_does_not_show_is_seen_by_the_number_of_events",
    ),
    Line(
        "features/store.py",
        "        if known is not None and known.seq:\n            return self._again(event, known)\n",
        "",
        "an id that was applied changes nothing, and gets its first features again",
    ),
    Line(
        "features/store.py",
        "        if known.body != event.body:\n",
        "        if False:\n",
        "the same id with another content is refused",
    ),
    Line(
        "features/store.py",
        "        if known is not None:\n            return Applied(Status.LABEL_DUPLICATE, known.seq, ())\n",
        "",
        "a label that comes twice counts once",
    ),
    Line(
        "features/script/items.lua",
        "      return answer(DUPLICATE, known.seq, known.marks, known.raw)\n",
        "",
        "Redis gives an id that was applied its first features again, and changes nothing",
        "tests/contract/test_feature_store.py::test_the_same_batch_twice_gets_the_first_answers_and_changes_nothing",
    ),
    # --- features on a cluster
    *ON_A_CLUSTER,
    # --- the path
    Line(
        "stream/codec.py",
        "        except RecordError as error:\n"
        "            return self.dead_letter(record, str(error), RECORD, self.people(record, raw))\n",
        "        except ZeroDivisionError:\n            raise\n",
        "a record that cannot be read is a dead letter, and stops no other",
    ),
    # --- SQL: the recorder
    Line(
        "stream/review/ledger.py",
        "            counts = record_batch(db, batch)\n",
        "            counts = Counter()\n",
        "rows are in the transaction that moves the positions",
        sql=True,
    ),
    Line(
        "stream/review/ledger.py",
        "            keep_positions(db, RECORDER, batch.positions)\n",
        "",
        "the recorder's positions are in the transaction of its rows",
        sql=True,
    ),
    Line(
        "stream/review/recording.py",
        "    fresh = [row for row in rows if row.event_id not in bodies and first[row.event_id] is row]\n",
        "    first = {row.event_id: row for row in rows}\n"
        "    fresh = [row for row in rows if row.event_id not in bodies and first[row.event_id] is row]\n",
        "the first decision of an id counts",
        sql=True,
    ),
    Line(
        "stream/review/recording.py",
        "    fresh = [row for row in rows if row.label_id not in known and first[row.label_id] is row]\n",
        "    first = {row.label_id: row for row in rows}\n"
        "    fresh = [row for row in rows if row.label_id not in known and first[row.label_id] is row]\n",
        "the first label of an id counts",
        sql=True,
    ),
    # --- SQL: the learner
    Line(
        "stream/review/learning.py",
        '            insert_new(db, t.learned_labels, [{"label_id": label.label_id} for label in learned])\n',
        "",
        "label ids are in the transaction of what they taught",
        sql=True,
    ),
    Line(
        "stream/review/learning.py",
        "            if held:\n                db.execute(insert(t.waiting_labels), held)\n",
        "",
        "labels that wait for their decision are in the checkpoint that moves past them",
        sql=True,
    ),
    Line(
        "stream/review/learning.py",
        "            keep_positions(db, LEARNER, positions)\n",
        "",
        "the learner's positions are in the transaction of what it learned",
        LEDGER + "test_a_checkpoint_keeps_all_of_it_and_the_next_learner_goes_on_there",
    ),
    Line(
        "stream/labels.py",
        "        known |= self._log.learned([label.label_id for label in labels])\n",
        "",
        "a label that an earlier checkpoint holds teaches nothing",
        sql=True,
    ),
    Line(
        "stream/labels.py",
        "        first = {label.label_id: label for label in reversed(labels)}\n",
        "        first = {label.label_id: label for label in labels}\n",
        "of two labels of one id the first teaches",
        sql=True,
    ),
    Line(
        "stream/labels.py",
        "            upto[early.tp] = min(upto[early.tp], early.offset)\n",
        "            pass\n",
        "a label that is early is not passed by a checkpoint",
        "tests/unit/stream/test_labels.py::test_a_checkpoint_stays_before_the_first_early_label_and_the_next_learner_reads_it_again",
    ),
    Line(
        "stream/review/learning.py",
        "                refuse_zombie(db, self._lease)\n",
        "                pass\n",
        "a learner that was thought dead and wakes up keeps nothing",
        kinds=("sleep",),
        sql=True,
    ),
    Line(
        "stream/review/database.py",
        'set_={"after": new}, where=new > table.c.after\n',
        'set_={"after": new}\n',
        "a recorder that was thought dead takes no position back",
        LEDGER + "test_a_recorder_that_was_thought_dead_takes_no_position_back",
    ),
    Line(
        "stream/review/recording.py",
        "[row.alert for row in fresh if row.alert]",
        "[row.alert for row in batch.decisions if row.alert]",
        "an alert counts only with the first decision of its event",
        "tests/contract/test_alerts.py::test_an_alert_is_of_the_first_decision_whatever_the_topic_of_alerts_says",
    ),
    # --- models
    Line(
        "stream/publishing.py",
        "        self.tend()\n        return max(",
        "        return max(",
        "a snapshot that was committed and not published is published by the next learner",
        "tests/unit/stream/test_publishing.py::test_what_the_last_learner_committed_and_did_not_publish_is_published_by_the_next",
    ),
    Line(
        "stream/labels.py",
        "        self._log.checkpoint(snapshot, upto, list(self._learned.values()), list(self._waiting.values()))\n",
        "        if snapshot and record:\n            self._models.publish(snapshot, record)\n"
        "        self._log.checkpoint(snapshot, upto, list(self._learned.values()), list(self._waiting.values()))\n",
        "a snapshot is published only once the checkpoint behind it is committed",
        "tests/unit/stream/test_labels.py::test_a_snapshot_is_published_once_the_ledger_holds_it_and_not_where_it_does_not",
    ),
    # --- review
    Line(
        "stream/review/queue.py",
        "            _put_out(db, alert_id, row, verdict, arrived_us)\n",
        "        with self._engine.begin() as db:\n            _put_out(db, alert_id, row, verdict, arrived_us)\n",
        "a verdict and its label are in one transaction",
        REVIEW + "test_queue.py::test_a_verdict_whose_label_cannot_be_kept_leaves_the_alert_open",
    ),
    Line(
        "stream/review/outbox.py",
        "            self._publisher.publish(self._topic, [record for _, record in unsent])\n"
        "            self._queue.sent([number for number, _ in unsent])\n",
        "            self._queue.sent([number for number, _ in unsent])\n"
        "            self._publisher.publish(self._topic, [record for _, record in unsent])\n",
        "a verdict is sent only once the log has it",
        REVIEW + "test_outbox.py::test_what_the_log_refuses_stays_and_goes_out_later_in_its_order",
    ),
    # --- generations
    Line(
        "stream/warming.py",
        "        self._bring_up(sources)\n",
        "",
        "what was decided on other features is applied before the change to a profile's own",
        WARMING + "test_what_was_decided_meanwhile_is_applied_before_the_change_in_the_logs_order",
    ),
    Line(
        "stream/warming.py",
        "        until = self._reached | firsts\n",
        "        until = firsts\n",
        "... of partitions, too, that the next batch has nothing of",
        WARMING + "test_what_was_decided_meanwhile_is_applied_before_the_change_in_the_logs_order",
    ),
    Line(
        "features/redis_snapshot.py",
        "        if client.exists(begun):\n            return True\n",
        "",
        "a snapshot that was put back in part is taken for none",
        "tests/contract/test_snapshots.py::test_what_was_put_back_in_part_is_begun_anew",
    ),
    # --- old generations
    Line(
        "features/redis_kept.py",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end\n",
        "",
        "who slept while an old generation was dropped drops nothing of what was made since",
        KEPT + "test_one_who_slept_drops_nothing_of_what_was_made_since",
    ),
    # --- rates of exchange
    Line(
        "features/rates.py",
        "            if self.quotes[at].counts_us <= arrived_us:\n",
        "            if True:\n",
        "an amount is converted by a rate that had arrived",
        RATES + "test_rates_that_arrive_later_change_nothing_for_an_event_that_was_there",
    ),
    Line(
        "features/rates.py",
        "rate.arrived_us + SETTLES_US, rate.rate)",
        "rate.arrived_us, rate.rate)",
        "no scorer converts by a rate that another may not see yet",
        RATES + "test_a_rate_counts_once_it_has_settled",
    ),
    # --- the embedded log
    Line(
        "stream/embedded/log.py",
        '            db.execute("PRAGMA synchronous=FULL")\n',
        '            db.execute("PRAGMA synchronous=OFF")\n',
        "what was appended is on the disk",
        LOG + "test_an_append_that_returned_is_on_the_disk",
    ),
    Line(
        "stream/embedded/log.py",
        "            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "a group has one member",
        LOG + "test_a_group_has_one_member_until_it_dies_and_the_second_is_told_its_pid",
    ),
    Line(
        "stream/embedded/log.py",
        "                if not (old or many) or (unread is not None and after > unread):\n",
        "                if not (old or many):\n",
        "retention drops nothing that a group has still to read",
        LOG + "test_retention_drops_what_is_old_and_every_group_has_read_and_gives_the_disk_back",
    ),
    *carried.LINES,
    # --- a network that reads along
    *READING,
    # --- networks
    *NETWORKS,
)
