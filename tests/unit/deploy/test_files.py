"""What the files in deploy/ say, beyond their grammar: nothing published to the world, no root, no password in sight."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("topics", "score", "learn", "record", "review")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_published_on_loopback_only(name):
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_rights_and_a_read_only_file_system(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    seconds = int(service["stop_grace_period"].removesuffix("s"))
    assert seconds > 10, "a worker may take so long to end"


def test_redis_never_evicts_and_keeps_every_write():
    conf = COMPOSE["configs"]["redis"]["content"]
    assert "maxmemory-policy noeviction\n" in conf
    assert "appendonly yes\n" in conf
    assert "maxmemory 2gb\n" in conf, "without a limit nobody is warned before the machine is full"


def test_passwords_come_from_files_that_git_does_not_know():
    text = (DEPLOY / "compose.yaml").read_text()
    assert not re.search(r"PASSWORD:\s*\S", text), "a password stands in compose.yaml"
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert not re.search(r"(?i)(password|secret|token)=\S", DOCKERFILE)


def test_every_volume_secret_and_config_that_is_used_is_declared_and_no_other():
    used = {"volumes": set(), "secrets": set(), "configs": set()}
    for service in SERVICES.values():
        used["volumes"] |= {
            volume.partition(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "./"
        }
        used["secrets"] |= set(service.get("secrets", ()))
        used["configs"] |= {config["source"] for config in service.get("configs", ())}
    for kind, names in used.items():
        assert names == set(COMPOSE[kind]), kind


def test_files_that_are_mounted_are_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if volume.startswith("./"):
                assert (DEPLOY / volume.partition(":")[0]).exists(), volume


def test_every_role_runs_and_prometheus_finds_them_all():
    commands = {" ".join(SERVICES[name]["command"]) for name in OURS}
    for role in ("score", "learn", "record"):
        assert f"worker --role {role}" in commands
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = scrape[0]["dns_sd_configs"]
    assert set(found["names"]) == set(OURS) - {"topics"}
    assert f"WEIR_METRICS_PORT={found['port']}" in DOCKERFILE


def test_grafana_finds_its_dashboard_and_its_source():
    source = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "weir.json").read_text())
    uids = {panel["datasource"]["uid"] for panel in board["panels"] if "datasource" in panel}
    assert uids == {source["datasources"][0]["uid"]}
    mounts = SERVICES["grafana"]["volumes"]
    assert any(each.startswith("./grafana/dashboards:/var/lib/grafana/dashboards") for each in mounts)


def test_the_image_runs_as_nobody_and_is_built_from_the_packages_alone():
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    assert DOCKERFILE.count("\nFROM ") == 2, "what builds it does not ship"
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    kept = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {name for names in copied for name in names.split()} == kept
    assert "torch>=2.6,<2.14" in DOCKERFILE
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "torch>=2.6,<2.14" in project["dependencies"], "the Dockerfile names the same torch"
    assert f"weir:{project['version']}" in DOCKERFILE
    assert SERVICES["score"]["image"] == f"weir:{project['version']}"


def test_settings_that_the_files_name_exist(monkeypatch, tmp_path):
    from stream.config import SECRET_FILES, SERVERS, SETTINGS

    known = {f"WEIR_{name.upper()}" for name in (*SETTINGS, *SERVERS, *SECRET_FILES)} | {"WEIR_LOG"}
    chart = "".join(path.read_text() for path in (DEPLOY / "helm").rglob("*") if path.is_file())
    named = set(re.findall(r"\bWEIR_[A-Z_]+[A-Z]\b", chart + DOCKERFILE + json.dumps(COMPOSE)))
    assert named - known <= {"WEIR_PARTITIONS", "WEIR_ACCEPT_GAP"}


def test_the_chart_ships_the_same_alerts():
    chart = DEPLOY / "helm" / "weir" / "files" / "alerts.yml"
    assert chart.read_text() == (DEPLOY / "prometheus" / "alerts.yml").read_text()
    meta = yaml.safe_load((DEPLOY / "helm" / "weir" / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert meta["appVersion"] == meta["version"] == project["version"]
