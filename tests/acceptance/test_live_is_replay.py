"""What the live path decides of a history is what a replay of it decides, bit for bit."""

import msgspec

from tests.acceptance.harness import eventually, first_by_id, rows, stop, weir, without_clock


def test_the_live_path_gives_the_features_and_decisions_of_the_replay(
    home, started, payments, profile, model
):
    options = ("--profile", profile, "--label-delay", "2d")
    replayed_file = home.parent / "replayed.jsonl"
    weir(
        "replay", payments, *options, "--model", model, "--decisions", replayed_file, "--json", directory=home
    )
    replayed = [msgspec.json.decode(line) for line in replayed_file.read_bytes().splitlines()]

    worker = started("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
    weir("send", payments, *options, directory=home)
    eventually(lambda: len(rows(home, "decisions")) >= len(replayed), "every event was decided")
    stop(worker)

    live = rows(home, "decisions")
    assert len(live) == len(replayed) == 6_000
    assert [without_clock(row) for row in live] == [without_clock(row) for row in replayed]
    assert any(row["outcome"] == "review" for row in live)
    assert len(first_by_id(live)) == 6_000
