"""The rule of the commit: what an agent marked done, in order, and nothing else."""

from faust.types.tuples import TP as FaustTP
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.marks import Marks
from stream.records import TP, Record

A, B = TP("a", 0), TP("b", 1)


def run(tp, first, count=1, size=1):
    return [Record(tp.topic, tp.partition, first + index, None, b"v" * size, (), 0) for index in range(count)]


class Commits(RuleBasedStateMachine):
    """Chunks are delivered, taken, done in any order, and forgotten, as agents, seeks and rebalances do it."""

    def __init__(self):
        super().__init__()
        self.marks = Marks()
        self.next = {A: 0, B: 0}
        self.delivered = {A: [], B: []}
        self.forgotten = []

    @rule(tp=st.sampled_from([A, B]), count=st.integers(1, 5))
    def deliver(self, tp, count):
        self.delivered[tp].append(self.marks.deliver(tp, run(tp, self.next[tp], count)))
        self.next[tp] += count

    @precondition(lambda self: any(self.delivered.values()))
    @rule(data=st.data())
    def take(self, data):
        data.draw(st.sampled_from([chunk for all_of in self.delivered.values() for chunk in all_of])).take()

    @precondition(lambda self: any(self.delivered.values()))
    @rule(data=st.data())
    def done(self, data):
        data.draw(st.sampled_from([chunk for all_of in self.delivered.values() for chunk in all_of])).done()

    @rule(tp=st.sampled_from([A, B]), back=st.integers(0, 4))
    def forget(self, tp, back):
        self.marks.forget([tp])
        self.forgotten += self.delivered[tp]
        self.delivered[tp] = []
        self.next[tp] = max(0, self.next[tp] - back)

    @precondition(lambda self: self.forgotten)
    @rule(data=st.data())
    def done_too_late(self, data):
        data.draw(st.sampled_from(self.forgotten)).done()

    @invariant()
    def committed_is_the_end_of_what_is_done_without_a_gap(self):
        for tp, all_of in self.delivered.items():
            after = None
            for chunk in all_of:
                if not chunk.is_done:
                    break
                after = chunk.last + 1
            assert self.marks.after(tp) == after

    @invariant()
    def what_is_waiting_is_what_no_agent_took(self):
        waiting = [chunk for all_of in self.delivered.values() for chunk in all_of if not chunk.is_taken]
        assert self.marks._records == sum(len(chunk.records) for chunk in waiting)
        assert self.marks._bytes == sum(chunk.size for chunk in waiting)


TestCommits = Commits.TestCase


def test_a_chunk_knows_where_it_begins_and_ends():
    chunk = Marks().deliver(A, run(A, 7, 3))
    assert (chunk.tp, chunk.first, chunk.last, chunk.size) == (A, 7, 9, 3)


def test_what_an_agent_took_is_owed_until_it_is_committed():
    marks, committed = Marks(), {FaustTP(*A): 5}
    first, second, other = (
        marks.deliver(A, run(A, 5, 2)),
        marks.deliver(A, run(A, 7)),
        marks.deliver(B, run(B, 3)),
    )
    assert not marks.owed(committed)  # nobody took it
    second.take()
    assert marks.owed(committed) == {A: 7}
    first.done()
    assert marks.owed(committed) == {A: 5}  # done, and not committed
    second.done()
    other.done()
    assert marks.owed(committed) == {A: 5, B: 0}
    assert not marks.owed({FaustTP(*A): 8, FaustTP(*B): 4})
