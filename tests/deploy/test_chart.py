"""The Helm chart: what it renders is valid for Kubernetes, unprivileged, and names what the code names.

``rendered.yaml`` is what it makes of ``rendered-values.yaml``; it is compared where helm or Go is installed. After
a change of the chart: ``UPDATE=1 python -m pytest tests/deploy/test_chart.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from facegate.cli.app import app
from facegate.recognition.worker.jetstream_worker import DURABLE
from facegate.sinks.jetstream import STREAM

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "deploy/helm/facegate"
RENDERED, VALUES = HERE / "rendered.yaml", HERE / "rendered-values.yaml"
HELM, GO = shutil.which("helm"), shutil.which("go")
KUBERNETES = "1.30"
THEIRS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
"""Resources of other projects, of which Kubernetes has no schema."""


def merged(base: Any, change: Any) -> Any:
    """Values of the chart with those given."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return base | {key: merged(base.get(key), value) for key, value in change.items()}


def render(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run helm, or else Go's templates with the few functions of helm that the chart uses."""
    if HELM is not None:
        command = [HELM, "template", "cctv", str(CHART), "-f", "-"]
        return subprocess.run(
            command, input=yaml.safe_dump(values), capture_output=True, text=True, timeout=120, check=False
        )
    assert GO is not None
    all_values = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    templates = sorted(map(str, (CHART / "templates").iterdir()))
    return subprocess.run(
        [GO, "run", str(HERE / "render.go"), *templates],
        input=json.dumps({"Values": all_values, "Release": {"Name": "cctv", "Revision": 1}}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def resources() -> list[dict[str, Any]]:
    """What the chart makes."""
    return [one for one in yaml.safe_load_all(RENDERED.read_text()) if one]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Name and specification of every pod."""
    return [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in resources()
        if one["kind"] in ("StatefulSet", "Deployment", "Job")
    ]


@pytest.mark.skipif(HELM is None, reason="needs helm on the path")
def test_the_chart_has_no_lint() -> None:
    assert HELM is not None
    command = [HELM, "lint", "--strict", str(CHART), "-f", str(VALUES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(HELM is None and GO is None, reason="needs helm or go on the path")
def test_the_chart_renders_what_is_kept_and_refuses_a_worker_without_a_gallery() -> None:
    done = render(yaml.safe_load(VALUES.read_text()))
    assert done.returncode == 0, done.stderr
    found = sorted(
        (one for one in yaml.safe_load_all(done.stdout) if one),
        key=lambda one: (one["kind"], one["metadata"]["name"]),
    )
    if os.environ.get("UPDATE"):
        RENDERED.write_text(yaml.safe_dump_all(found, width=116))
    assert found == resources(), "the chart has changed: run again with UPDATE=1"
    without = render({})
    assert without.returncode != 0 and "galleryClaim is not set" in without.stderr


@pytest.mark.parametrize("resource", resources(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_resource_is_valid(resource: dict[str, Any]) -> None:
    if resource["apiVersion"] not in THEIRS:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@pytest.mark.parametrize(("name", "pod"), pods())
def test_a_pod_is_restricted_and_bounded(name: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"] + pod.get("initContainers", []):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"], f"{name}: memory is not bounded"
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/tmp" in mounted
        if name != "cctv-apply-1" and not pod.get("restartPolicy"):
            assert "/data" in mounted


@pytest.mark.parametrize(("name", "pod"), pods())
def test_the_commands_and_options_of_a_pod_exist(name: str, pod: dict[str, Any]) -> None:
    command: Any
    for container in pod["containers"]:
        words = container["args"]
        command = get_command(app)
        while words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("--") or word.split("=")[0] in options, f"{name}: {word}"


def test_workers_are_scaled_by_the_consumer_that_they_share() -> None:
    scaled = next(one for one in resources() if one["kind"] == "ScaledObject")
    metadata = scaled["spec"]["triggers"][0]["metadata"]
    assert (metadata["stream"], metadata["consumer"]) == (STREAM, DURABLE)


def test_services_policies_and_budgets_select_the_pods() -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in resources()
        if one["kind"] in ("StatefulSet", "Job")
    ]
    for one in resources():
        spec = one.get("spec", {})
        selector = spec.get("selector") if one["kind"] in ("Service", "PodDisruptionBudget") else None
        selector = spec.get("podSelector") if one["kind"] == "NetworkPolicy" else selector
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= of.items() for of in labels), one["metadata"]["name"]
