"""What a scrape gets: every name from the catalogue, buckets that add up, several processes on one page."""

import re

import pytest

from stream.metrics import CATALOGUE, families, joined, parsed, process, written
from stream.watch import Reading, RoleWatch


def text_of(watch, *readings):
    return written(families(watch, readings)).decode()


def test_buckets_hold_all_that_is_at_or_below_their_end():
    watch = RoleWatch("score")
    for seconds in (0.001, 0.004, 100.0):
        watch.stages["decode"].add(seconds)
    lines = text_of(watch).splitlines()
    assert 'weir_stage_seconds_bucket{le="0.001",role="score",stage="decode"} 1.0' in lines
    assert 'weir_stage_seconds_bucket{le="0.005",role="score",stage="decode"} 2.0' in lines
    assert 'weir_stage_seconds_bucket{le="30",role="score",stage="decode"} 2.0' in lines
    assert 'weir_stage_seconds_bucket{le="+Inf",role="score",stage="decode"} 3.0' in lines
    assert 'weir_stage_seconds_count{role="score",stage="decode"} 3.0' in lines
    assert 'weir_stage_seconds_sum{role="score",stage="decode"} 100.005' in lines


def test_counters_and_gauges_have_their_meaning_their_role_and_their_labels():
    text = text_of(RoleWatch("score"), Reading("weir_dead_letters", 3, {"reason": "field"}))
    assert "# TYPE weir_dead_letters_total counter" in text
    assert 'weir_dead_letters_total{reason="field",role="score"} 3.0' in text.splitlines()


def test_a_reading_that_the_catalogue_does_not_know_is_an_error():
    with pytest.raises(KeyError, match="weir_surprise"):
        text_of(RoleWatch("score"), Reading("weir_surprise", 1))


def test_several_processes_make_one_page_with_each_name_once():
    score, learn = RoleWatch("score"), RoleWatch("learn")
    told = parsed(text_of(learn, Reading("weir_ready", 0))) + process("learn")
    page = written(joined([*families(score, [Reading("weir_ready", 1)]), *process("score"), *told])).decode()
    assert page.count("# TYPE weir_ready gauge") == 1
    assert page.count("# TYPE process_start_time_seconds gauge") == 1
    assert {'weir_ready{role="score"} 1.0', 'weir_ready{role="learn"} 0.0'} <= set(page.splitlines())
    assert 'process_start_time_seconds{role="learn"}' in page


def test_every_name_is_one_that_prometheus_takes_and_says_what_it_means():
    for name, kind in CATALOGUE.items():
        assert re.fullmatch(r"weir_[a-z_]+", name)
        assert kind.type in ("counter", "gauge", "histogram"), name
        assert kind.meaning, name
        assert not name.endswith(("_total", "_bucket", "_count", "_sum")), name
        assert "role" not in kind.labels, name
