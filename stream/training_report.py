"""What a training found: as tables for people, as JSON for programs, and as a page that stands by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined

from features.events import to_datetime
from models.periods import Period
from models.training_plots import drawn
from stream.train import Outcome

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { margin: 0; background: #f3f6f7; color: #17262e; font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
  main { max-width: 1080px; margin: 0 auto; padding: 1.5rem; }
  h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
  .lead { color: #5b6c75; margin: .2rem 0 1.2rem; max-width: 75ch; }
  .card { background: #fff; border: 1px solid #dde5e8; border-radius: 8px; padding: 1rem 1.2rem; margin-bottom: 1rem; }
  .card { overflow-x: auto; }
  .figures { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 0; }
  .figures dt { color: #5b6c75; font-size: .8rem; } .figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
  .figures dd, td.n { font-variant-numeric: tabular-nums; }
  svg { width: 100%; height: auto; display: block; }
  table { border-collapse: collapse; width: 100%; font-size: .92rem; }
  th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #e7edef; vertical-align: top; }
  th { color: #5b6c75; font-weight: 500; white-space: nowrap; } td.n, th.n { text-align: right; } tr.best td { font-weight: 700; }
  .two { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 0 1rem; align-items: start; }
  code { overflow-wrap: anywhere; }
</style>
</head>
<body><main>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
<section class="card"><dl class="figures">
{% for name, value in figures %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl></section>
<section class="card">{{ picture }}</section>
<div class="two"><div>
<section class="card"><h2>Data</h2><table>
<tr><th></th><th class="n">learned from</th><th class="n">judged on</th></tr>
{% for name, earlier, later in data %}<tr><th>{{ name }}</th><td class="n">{{ earlier }}</td><td class="n">{{ later }}</td></tr>
{% endfor %}</table>
{% for line in notes %}<p class="lead">{{ line }}</p>{% endfor %}</section>
<section class="card"><h2>Epochs</h2><table>
<tr><th class="n">epoch</th><th class="n">loss</th><th class="n">later loss</th><th class="n">AUC ROC</th><th class="n">AP</th>
<th class="n">seconds</th></tr>
{% for each in epochs %}<tr{% if each[0] == best %} class="best"{% endif %}>{% for value in each %}<td class="n">{{ value }}</td>
{% endfor %}</tr>
{% endfor %}</table></section>
</div>
<section class="card"><h2>Settings</h2><table>
{% for name, value in settings %}<tr><th>{{ name }}</th><td><code>{{ value }}</code></td></tr>
{% endfor %}</table></section>
</div>
</main></body>
</html>
"""


def write_page(outcome: Outcome, path: Path) -> None:
    """Write the page."""
    from markupsafe import Markup

    trained = outcome.trained
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    text = page.render(
        title=f"Training of a {outcome.shape.architecture} network, profile {outcome.profile}",
        lead=_lead(outcome),
        figures=_figures(outcome),
        picture=Markup(drawn(trained)),
        data=_data(trained.learned_from, trained.judged_on),
        notes=[f"Left out: {count:,} that {why}." for why, count in outcome.left_out.items()],
        epochs=[
            (
                each.number,
                *(f"{value:.4f}" for value in msgspec.structs.astuple(each)[1:5]),
                f"{each.seconds:.1f}",
            )
            for each in trained.curve
        ],
        best=trained.best,
        settings=_settings(outcome),
    )
    path.write_text(text, encoding="utf-8")


def as_json(outcome: Outcome) -> bytes:
    """The outcome as JSON; what could not be measured is null."""
    trained = outcome.trained
    return msgspec.json.encode(
        {
            "profile": outcome.profile,
            "network": outcome.network,
            "folder": str(outcome.folder),
            "shape": outcome.shape,
            "recipe": outcome.recipe,
            "features": outcome.features,
            "until": to_datetime(outcome.until_us).isoformat(),
            "learned_from": _times(trained.learned_from),
            "judged_on": _times(trained.judged_on),
            "left_out": outcome.left_out,
            "metrics": trained.measures,
            "calibration": trained.calibration._asdict(),
            "epochs": trained.curve,
            "best": trained.best,
            "seconds": round(outcome.seconds, 3),
        }
    )


def lines(outcome: Outcome) -> Iterable[str]:
    """The outcome in a few lines."""
    trained = outcome.trained
    yield _lead(outcome)
    width = max(len(name) for name, _ in _figures(outcome))
    for name, value in _figures(outcome):
        yield f"  {name:<{width}}  {value}"
    for why, count in outcome.left_out.items():
        yield f"  left out: {count:,} that {why}"
    yield (
        f"wrote the network {outcome.network} (epoch {trained.best} of {len(trained.curve)}) to {outcome.folder}; "
        f"how it went is told in {outcome.folder / 'report.html'}"
    )


def _lead(outcome: Outcome) -> str:
    learned, judged = outcome.trained.learned_from, outcome.trained.judged_on
    return (
        f"Learned from {learned.labels:,} labels ({learned.frauds:,} frauds) of {_day(learned.from_us)} to "
        f"{_day(learned.until_us)}, judged on {judged.labels:,} ({judged.frauds:,} frauds) of {_day(judged.from_us)} to "
        f"{_day(judged.until_us)}, which it had not learned from; no label counts that arrived after {_day(outcome.until_us)}."
    )


def _figures(outcome: Outcome) -> list[tuple[str, str]]:
    measures = outcome.trained.measures
    share = outcome.trained.judged_on.frauds / outcome.trained.judged_on.labels
    return [
        ("average precision", f"{_number(measures.average_precision)} (by chance {share:.3f})"),
        ("AUC ROC", _number(measures.auc_roc)),
        (f"precision at 100 {outcome.entity}s a day", _number(measures.card_precision)),
        ("calibration error (ECE)", _number(measures.calibration_error, 4)),
        ("trained in", f"{outcome.seconds:,.0f} s"),
    ]


def _data(earlier: Period, later: Period) -> list[tuple[str, str, str]]:
    return [
        ("from", _day(earlier.from_us), _day(later.from_us)),
        ("to", _day(earlier.until_us), _day(later.until_us)),
        ("events", f"{earlier.events:,}", f"{later.events:,}"),
        ("labels", f"{earlier.labels:,}", f"{later.labels:,}"),
        ("frauds", f"{earlier.frauds:,}", f"{later.frauds:,}"),
    ]


def _settings(outcome: Outcome) -> list[tuple[str, str]]:
    named: Mapping[str, Any] = {
        **msgspec.structs.asdict(outcome.shape),
        **msgspec.structs.asdict(outcome.recipe),
        "reads": f"the events of each {outcome.entity}, in order",
        "features": ", ".join(outcome.features),
        "calibration": "slope {:.4f}, offset {:.4f}".format(*outcome.trained.calibration),
        "network": outcome.network,
    }
    return [(name.replace("_", " "), str(value)) for name, value in named.items()]


def _times(period: Period) -> dict[str, Any]:
    told = msgspec.structs.asdict(period)
    return {
        "from": to_datetime(told.pop("from_us")).isoformat(),
        "until": to_datetime(told.pop("until_us")).isoformat(),
        **told,
    }


def _day(us: int) -> str:
    return to_datetime(us).strftime("%Y-%m-%d %H:%M")


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
