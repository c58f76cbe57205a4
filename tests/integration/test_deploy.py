"""The files in deploy/ as their own tools read them: Compose, Helm, Kubernetes, hadolint, yamllint. No engine runs here."""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.wanted import missing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "weir"
KUBERNETES = ("1.29", "1.33")
"""The oldest and the newest that the chart is meant for."""

ALL = {
    "autoscaling": {"enabled": True, "authenticationRef": "kafka"},
    "monitoring": {"podMonitor": True, "prometheusRule": True},
    "profileToml": 'name = "mine"\n',
    "topicPrefix": "acme.",
    "env": {"WEIR_TRACES": 0.01},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
}
CUSTOM = {"ScaledObject", "PodMonitor", "PrometheusRule"}
"""Kinds whose schemas come with KEDA and the Prometheus Operator: they are looked at below by hand."""


def tool(name):
    """A program of the environment that runs the tests, or of the machine."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        missing("deploy", f"no {name}: pip install 'weir[deploy]'")
    return found


def library(name):
    """A library that reads such files."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        missing("deploy", f"no {name}: pip install 'weir[deploy]'")


# --- Compose


def resolved(text):
    """As Compose sees it: variables by their defaults, anchors resolved, extensions gone."""
    read = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text))
    return yaml.safe_dump({name: value for name, value in read.items() if not name.startswith("x-")})


def checked(text):
    """Read by the Compose specification's own types; raises for what they do not allow."""
    spec = library("compose_spec")
    read = spec.PyCompose.from_yaml(resolved(text))
    for check in (
        "validate",
        "validate_configs",
        "validate_networks",
        "validate_secrets",
        "validate_volumes",
    ):
        getattr(read, check)()
    return read


def test_compose_takes_the_file():
    names = checked((DEPLOY / "compose.yaml").read_text()).service_names()
    wanted = [
        "kafka",
        "redis",
        "postgres",
        "topics",
        "score",
        "learn",
        "record",
        "review",
        "prometheus",
        "grafana",
    ]
    assert names == sorted(wanted) or set(names) == set(wanted)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("restart:", "restrat:"),
        ("service_healthy", "service_wealthy"),
        ("secrets: [grafana_", "secrets: [no_"),
    ],
)
def test_compose_refuses_a_slip(right, wrong):
    text = (DEPLOY / "compose.yaml").read_text()
    assert right in text
    checked(text)
    with pytest.raises(Exception, match=r"restrat|service_wealthy|no_password"):
        checked(text.replace(right, wrong))


# --- Helm and Kubernetes


def rendered(values=None):
    chart = library("helm_python.chart")
    manifests = chart.Chart.load(CHART).render(values, name="prod", namespace="fraud")
    documents = [doc for text in manifests.values() for doc in yaml.safe_load_all(text) if doc]
    return {(doc["kind"], doc["metadata"]["name"]): doc for doc in documents}


def test_helm_finds_no_fault_in_the_chart():
    chart = library("helm_python.chart")
    for values in (None, ALL):
        report = chart.lint(CHART, values, strict=True)
        assert report["errors"] == []
        assert [each for each in report["messages"] if each["severity"] >= 2] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [None, ALL], ids=["default", "everything"])
def test_kubernetes_takes_every_manifest(version, values):
    schemas = library("kubernetes_validate")
    documents = rendered(values)
    for (kind, _), document in documents.items():
        if kind not in CUSTOM:
            schemas.validate(document, version, strict=True)
    assert {kind for kind, _ in documents} - CUSTOM >= {
        "Deployment",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }
    broken = documents["Deployment", "prod-weir-score"]
    broken["spec"]["replicaz"] = 1
    with pytest.raises(schemas.ValidationError):
        schemas.validate(broken, version, strict=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"broker": "kafka://user:secret@kafka:9092"}, "/broker"),
        ({"database": "postgresql://weir:secret@postgres/weir"}, "/database"),
        ({"redis": "redis://:secret@redis:6379/0"}, "/redis"),
        ({"env": {"WEIR_KAFKA_PASSWORD": "secret"}}, "WEIR_KAFKA_PASSWORD"),
        ({"terminationGracePeriodSeconds": 5}, "/terminationGracePeriodSeconds"),
        ({"replicas": 3}, "replicas"),
    ],
)
def test_values_that_would_harm_are_refused(values, said):
    chart = library("helm_python.chart")
    loaded = chart.Chart.load(CHART)
    loaded.validate_schema({})
    with pytest.raises(Exception, match=said):
        loaded.validate_schema(values)


def test_pods_have_probes_no_rights_and_the_time_to_end():
    for (kind, name), document in rendered().items():
        if kind not in ("Deployment", "Job"):
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        if kind == "Deployment":
            assert pod["terminationGracePeriodSeconds"] >= 30, name
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports[container["livenessProbe"]["httpGet"]["port"]] == 9464


def secret_files(document):
    (secrets,) = (volume for volume in document["spec"]["template"]["spec"]["volumes"] if "secret" in volume)
    return {item["key"] for item in secrets["secret"]["items"]}


def test_only_the_learner_holds_the_key_that_signs_models():
    documents = rendered()
    holders = {
        name
        for (kind, name), doc in documents.items()
        if kind in ("Deployment", "Job") and "models.key" in secret_files(doc)
    }
    assert holders == {"prod-weir-learn"}
    assert {"seal.key", "models.trusted", "database_password", "redis_password"} <= secret_files(
        documents["Deployment", "prod-weir-score"]
    )


def test_scorers_follow_the_lag_and_are_never_more_than_the_partitions():
    values = {**ALL, "topics": {"partitions": 6}, "autoscaling": {"enabled": True, "minReplicas": 9}}
    documents = rendered(values)
    scaled = documents["ScaledObject", "prod-weir-score"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (6, 6)
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["consumerGroup"] == "acme.weir-score"
    assert trigger["metadata"]["topic"] == "acme.transactions"
    assert spec["scaleTargetRef"]["name"] == "prod-weir-score"
    assert "replicas" not in documents["Deployment", "prod-weir-score"]["spec"], "two would set it"


def test_the_operator_gets_the_alerts_as_they_are():
    rule = rendered(ALL)["PrometheusRule", "prod-weir"]
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    monitor = rendered(ALL)["PodMonitor", "prod-weir"]
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"


# --- style


def test_hadolint_finds_no_fault_in_the_dockerfile():
    ran = subprocess.run(
        [tool("hadolint"), "--no-color", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_yamllint_finds_no_fault():
    rules = "{extends: default, rules: {line-length: {max: 132}, document-start: disable, braces: {max-spaces-inside: 0}}}"
    files = [path for path in DEPLOY.rglob("*.y*ml") if "templates" not in path.parts]
    command = [tool("yamllint"), "--strict", "--config-data", rules, *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_docker_compose_resolves_the_file():
    """Where Docker's own plugin is there: it needs no engine for this."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no docker compose on this machine; its specification was checked above")
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
