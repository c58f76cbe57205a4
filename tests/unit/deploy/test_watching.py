"""Dashboards, alert rules, runbook and code name the same things."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from stream.metrics import CATALOGUE
from tests.wanted import missing

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARDS = [
    json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
]
RUNBOOK = (DEPLOY / "runbook.md").read_text()
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
EVERYWHERE = {"role", "instance", "job"}
SAMPLES = {
    name + suffix: {*kind.labels, *EVERYWHERE, *({"le"} if suffix == "_bucket" else ())}
    for name, kind in CATALOGUE.items()
    for suffix in SUFFIXES[kind.type]
} | dict.fromkeys(PROCESS, EVERYWHERE)
"""What a scrape holds, and the labels of each."""


def expressions():
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for dashboard in DASHBOARDS:
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"]


def vectors(expression):
    """The metrics that an expression names, each with the labels that its selector asks for."""
    for name, selector in re.findall(r"\b((?:weir|process)_[a-z_]+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector))


def grouped(expression):
    """The labels that an expression groups by."""
    return {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")
    }


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_that_is_looked_at_is_exported_with_the_labels_that_are_asked_for(where, expression):
    named = dict(vectors(expression))
    assert named, f"{where} looks at nothing"
    for name, labels in named.items():
        assert name in SAMPLES, f"{where} looks at {name}, which nothing exports"
        assert labels <= SAMPLES[name], f"{where} asks {name} for {labels - SAMPLES[name]}"
    known = set().union(*(SAMPLES[name] for name in named))
    assert grouped(expression) <= known, where


def weir():
    """The command line with all its commands."""
    from stream import cli

    cli.register_all()
    return cli.weir


def told_by_the_code():
    """The names of all readings that the code makes."""
    for path in (ROOT / "stream").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "metrics.py":
                yield node.value


def test_every_metric_of_the_catalogue_is_told_by_some_code():
    from stream.review import metrics as review

    told = set(told_by_the_code()) | {f"weir_{name}" for name in (*review.COUNTERS, *review.GAUGES)}
    source = (ROOT / "stream" / "metrics.py").read_text() + (
        ROOT / "stream" / "review" / "metrics.py"
    ).read_text()
    for name in CATALOGUE:
        assert name in told or source.count(f'"{name}"') > 1 or f'Reading("{name}"' in source, name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_its_section_in_the_runbook(rule):
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page).exists()
    assert anchor == rule["alert"].lower()
    section = re.search(rf"^## {rule['alert']}$(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section, "no section of this name"
    for part in ("**It means**", "**See**", "**Do**"):
        assert part in section[1], f"the section lacks {part}"
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_runbook_has_no_section_without_an_alert_and_no_dead_link():
    sections = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES], "in the same order"
    anchors = {section.lower() for section in sections}
    assert set(re.findall(r"\]\(#([a-z]+)\)", RUNBOOK)) <= anchors
    for path in re.findall(r"\]\(([^#)]+)\)", RUNBOOK):
        assert (DEPLOY / path).exists(), path


def test_commands_that_the_runbook_names_exist():
    for line in set(re.findall(r"(?:`|^    )weir ([a-z-]+(?: [a-z]+)*)", RUNBOOK, re.MULTILINE)):
        command = weir()
        for word in line.split():
            if isinstance(command, click.Group):
                assert word in command.commands, f"the runbook says `weir {line}`"
                command = command.commands[word]
        assert not isinstance(command, click.Group), f"`weir {line}` needs one more word"


def test_every_alert_is_tried_by_a_rule_test():
    tried = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tried for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    for dashboard in DASHBOARDS:
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {
                (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_the_rules_do_what_their_tests_say():
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool", "no promtool (Debian: apt-get install prometheus)")
    folder = DEPLOY / "prometheus"
    for what in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        ran = subprocess.run([promtool, *what], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_its_configuration():
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool", "no promtool (Debian: apt-get install prometheus)")
    config = DEPLOY / "prometheus" / "prometheus.yml"
    command = [promtool, "check", "config", "--syntax-only", str(config)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
