"""What can be said of the files for containers, Kubernetes and monitoring without an engine, a cluster or a server.

Where `helm`, `promtool` or `docker-compose` are on the PATH they judge too.
"""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import typer.main
import yaml

from services.cli import cli
from services.runtime import SERVICES
from shared.settings import Settings
from shared.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
DEPLOY, CHART = ROOT / "deploy", ROOT / "deploy" / "helm" / "valueloop"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in CONTAINERS.items() if service.get("image") == "valueloop"}
SETTINGS = {f"VALUELOOP_{name.upper()}" for name in Settings.model_fields}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
ALERTS = [rule for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
          for rule in group["rules"]]  # fmt: skip
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "valueloop.json").read_text())
FULL = {
    "settings": {"jwks_url": "https://id.example.com/jwks", "kafka_bootstrap": "kafka:9092"},
    "worker": {"autoscaling": {"kind": "keda", "authentication": "kafka"}},
    "ingress": {"enabled": True, "tlsSecret": "tls"},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}]},
    "monitoring": {"podMonitor": True, "prometheusRule": True, "dashboard": True, "labels": {"release": "p"}},
    "services": {"goals": {"secret": "goals", "api": {"replicas": 5, "autoscaling": {"enabled": False}}}},
}


def assert_is_a_command(arguments: list[str]) -> None:
    """A path of commands, then at most the name of a service."""
    command: Any = typer.main.get_command(cli)
    while arguments and (found := getattr(command, "commands", {}).get(arguments[0])):
        command, arguments = found, arguments[1:]
    assert not hasattr(command, "commands"), f"{command.name} needs a command"
    assert set(arguments) <= set(SERVICES)


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """What the chart makes of these values, by `helm`."""
    if not shutil.which("helm"):
        pytest.skip("helm is not on the PATH")
    done = subprocess.run(
        ["helm", "template", "valueloop", str(CHART), "--values", "-"],
        input=yaml.safe_dump(values), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document["spec"]["template"] for document in documents if document["kind"] in ("Deployment", "Job")]


# --- containers ---


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_a_command_that_exists(name: str) -> None:
    assert_is_a_command(OURS[name]["command"])


def test_every_service_has_an_api_and_workers_that_scale() -> None:
    for service in SERVICES:
        assert OURS[service]["command"] == ["serve", service]
        assert OURS[f"{service}-worker"]["command"] == ["work", service]
        assert "ports" not in OURS[f"{service}-worker"], "two workers could not share a port of the host"


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_confined(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    if container["restart"] != "on-failure":
        assert container["healthcheck"]["test"]
    if name != "postgres":  # runs as postgres, and drops nothing that it would have
        assert (container["cap_drop"], container["security_opt"]) == (["ALL"], ["no-new-privileges:true"])


def test_ports_are_open_on_this_machine_alone() -> None:
    ports = [port for container in CONTAINERS.values() for port in container.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_each_listener_of_kafka_tells_an_address_that_its_network_knows() -> None:
    told = CONTAINERS["kafka"]["environment"]
    listeners, advertised = (
        dict(one.split("://") for one in told[name].split(","))
        for name in ("KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS")
    )
    inside, outside = advertised["INSIDE"], advertised["OUTSIDE"]
    assert OURS["goals"]["environment"]["VALUELOOP_KAFKA_BOOTSTRAP"] == inside == f"kafka{listeners['INSIDE']}"
    assert f"{outside}:{listeners['OUTSIDE'][1:]}" in CONTAINERS["kafka"]["ports"]
    assert advertised.keys() == listeners.keys() - {told["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert told["KAFKA_CONTROLLER_QUORUM_VOTERS"].endswith(f"@kafka{listeners['CONTROLLER']}")


def test_secrets_and_volumes_that_are_used_are_declared_and_no_password_stands_in_the_environment() -> None:
    for container in CONTAINERS.values():
        assert set(container.get("secrets", [])) <= COMPOSE["secrets"].keys()
        named = {volume.split(":")[0] for volume in container.get("volumes", [])}
        assert {name for name in named if not name.startswith("./")} <= COMPOSE["volumes"].keys()
        assert all((ROOT / name).exists() for name in named if name.startswith("./"))
        for variable in container.get("environment", {}):
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
            assert "DATABASE_URL" not in variable
    for secret in OURS["goals"]["secrets"]:
        assert secret == "jwks" or f"{secret.upper()}" in SETTINGS


def test_workers_answer_where_their_health_is_asked_and_prometheus_looks() -> None:
    port = OURS["goals-worker"]["environment"]["VALUELOOP_HEALTH_PORT"]
    assert f":{port}/readyz" in OURS["goals-worker"]["healthcheck"]["test"][-1]
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {(name, sd["port"]) for job in jobs for sd in job["dns_sd_configs"] for name in sd["names"]}
    assert asked == {(name, 8700) for name in SERVICES} | {(f"{name}-worker", int(port)) for name in SERVICES}


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not on the PATH")
def test_docker_compose_accepts_the_file() -> None:
    command = ["docker-compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", "monitoring", "config"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for copied in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (ROOT / copied).exists()
        assert f"!{copied}" in (ROOT / ".dockerignore").read_text().splitlines()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)


# --- settings ---


def test_every_variable_named_is_a_setting_and_every_setting_is_documented() -> None:
    files = [ROOT / "docker-compose.yml", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    texts = {path: path.read_text() for path in files if "__pycache__" not in path.parts}
    named = {(name, path) for path, text in texts.items() for name in re.findall(r"VALUELOOP_[A-Z][A-Z_]*", text)}
    tests_only = {"VALUELOOP_REQUIRE_KAFKA"}
    assert {(name, path) for name, path in named if name not in SETTINGS | tests_only} == set()
    documented = (ROOT / "docs" / "operations.md").read_text()
    assert {name for name in SETTINGS if f"`{name}`" not in documented} == set()


def test_the_chart_takes_every_setting_but_those_it_gives_itself_and_secrets() -> None:
    own = {"secrets_directory", "health_port", "host", "port", "data_directory", "workers", "log_json"}
    secret = {name for name in Settings.model_fields if name.endswith("database_url") or name == "kafka_password"}
    assert SCHEMA["properties"]["settings"]["properties"].keys() == Settings.model_fields.keys() - own - secret
    Settings(**{name: value for name, value in VALUES["settings"].items() if value != ""})


# --- the chart ---


def test_the_values_fit_their_schema_and_each_is_explained() -> None:
    validator = jsonschema_rs.validator_for(SCHEMA)
    validator.validate(VALUES)
    validator.validate(FULL)
    assert not validator.is_valid({"settings": {"no_such_setting": "1"}})
    assert not validator.is_valid({"settings": {"kafka_password": "in the open"}})
    assert SCHEMA["properties"].keys() == VALUES.keys() | {"global"}
    lines = (CHART / "values.yaml").read_text().splitlines()
    for above, line in itertools.pairwise(["", *lines]):
        if re.match(r"\w", line):
            assert "#" in line or above.startswith("#"), f"{line} is not explained"


def test_without_keys_of_an_identity_provider_the_chart_says_what_is_missing() -> None:
    if not shutil.which("helm"):
        pytest.skip("helm is not on the PATH")
    done = subprocess.run(["helm", "template", "valueloop", str(CHART)], capture_output=True, text=True)
    assert done.returncode and "settings.jwks_url" in done.stderr


@pytest.mark.parametrize("values", [{"settings": FULL["settings"]}, FULL], ids=["small", "full"])
def test_a_rendered_process_runs_a_command_that_exists_with_settings_that_do(values: dict[str, Any]) -> None:
    containers = [container for pod in pods(rendered(values)) for container in pod["spec"]["containers"]]
    assert len(containers) == 2 * len(SERVICES) + 2
    for container in containers:
        assert_is_a_command(container["args"])
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        assert given.keys() <= SETTINGS
        Settings(**{name.removeprefix("VALUELOOP_").lower(): value for name, value in given.items()})


def test_a_rendered_pod_may_do_little() -> None:
    for pod in pods(rendered(FULL)):
        (container,), outside = pod["spec"]["containers"], pod["spec"]["securityContext"]
        assert outside["runAsNonRoot"] and outside["seccompProfile"] == {"type": "RuntimeDefault"}
        inside = container["securityContext"]
        assert inside["readOnlyRootFilesystem"] and not inside["allowPrivilegeEscalation"]
        assert inside["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_what_is_rendered_finds_the_pods_it_speaks_of() -> None:
    documents = rendered(FULL)
    labels = {document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
              for document in documents if document["kind"] == "Deployment"}  # fmt: skip
    for document in documents:
        spec, name = document.get("spec", {}), document["metadata"]["name"]
        chosen = {"Service": lambda s: s["selector"], "PodDisruptionBudget": lambda s: s["selector"]["matchLabels"],
                  "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"],
                  "Deployment": lambda s: s["selector"]["matchLabels"]}  # fmt: skip
        if selector := chosen.get(document["kind"]):
            found = [pod for pod, has in labels.items() if selector(spec).items() <= has.items()]
            assert found == [name]
        if target := spec.get("scaleTargetRef"):
            assert target["name"] in labels
            (deployment,) = (d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == name)
            assert "replicas" not in deployment["spec"], "an upgrade would undo the scaling"


def test_overrides_of_one_service_leave_the_others_alone() -> None:
    found = {d["metadata"]["name"]: d["spec"] for d in rendered(FULL) if d["kind"] == "Deployment"}
    assert found["valueloop-goals"]["replicas"] == 5 and "replicas" not in found["valueloop-reviews"]
    secrets = {name: spec["template"]["spec"]["volumes"][0]["secret"]["secretName"] for name, spec in found.items()}
    own = {name for name, secret in secrets.items() if secret == "goals"}
    assert own == {"valueloop-goals", "valueloop-goals-worker"}


def test_workers_scale_on_the_group_whose_offsets_they_commit() -> None:
    triggers = [d["spec"]["triggers"][0]["metadata"] for d in rendered(FULL) if d["kind"] == "ScaledObject"]
    groups = {trigger["consumerGroup"] for trigger in triggers}
    assert groups == {f"{Settings().kafka_prefix}{service}" for service in SERVICES}


def test_databases_are_migrated_before_topics_are_made_and_both_before_anything_starts() -> None:
    jobs = [d for d in rendered(FULL) if d["kind"] == "Job"]
    by_weight = sorted(jobs, key=lambda d: int(d["metadata"]["annotations"]["helm.sh/hook-weight"]))
    commands = [d["spec"]["template"]["spec"]["containers"][0]["args"] for d in by_weight]
    assert commands == [["migrate"], ["topics", "apply"]]
    assert all("pre-upgrade" in d["metadata"]["annotations"]["helm.sh/hook"] for d in jobs)


# --- monitoring ---


def assert_queries_what_exists(query: str) -> None:
    """Every metric of ours in it exists, with the labels by which it is chosen or summed."""
    known = {sample.name.removesuffix("_created"): {*metric._labelnames, "le"}
             for metric in vars(Telemetry()).values() if hasattr(metric, "_labelnames")
             for sample in metric.describe()}  # fmt: skip
    used = [re.sub(r"_(total|count|bucket|sum)$", "", name) for name in re.findall(r"valueloop_\w+", query)]
    assert set(used) <= known.keys(), query
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)) | {
        label.strip() for by in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in by.split(",")
    }
    standard = {"job", "instance"}
    assert labels <= standard.union(*(known[name] for name in used)), query


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_figures_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert_queries_what_exists(rule["expr"])
    assert rule["for"] and rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "remedy"}
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "deployment.md").read_text()


def test_the_dashboard_asks_for_figures_that_exist() -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(queries) >= len(DASHBOARD["panels"]) > 0
    for query in queries:
        assert_queries_what_exists(query)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on the PATH")
@pytest.mark.parametrize("command", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]])
def test_each_way_to_fail_raises_its_alert_and_health_raises_none(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
