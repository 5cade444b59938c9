"""The alert rules and the dashboard name metrics and label values that exist, and the rules fire as tested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.reference_metrics import metrics

ROOT = Path(__file__).parents[2]
RULES, TESTS = ROOT / "deploy/prometheus/alerts.yaml", ROOT / "tests/deploy/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/facegate.json"
PROMTOOL = shutil.which("promtool")
LABELS_OF_PROMETHEUS = {"instance", "job", "le"}


def known() -> dict[str, tuple[str, dict[str, set[str]]]]:
    """Type of each metric, and the labels with their values; no values where any are possible."""
    found = {}
    for name, kind, labels in re.findall(r"^\| `(facegate_\w+)` \| (\w+) \| ([^|]*) \|", metrics(), re.MULTILINE):
        values = dict(re.findall(r"`(\w+)`(?: \(([^)]*)\))?", labels))
        found[name] = (kind, {label: set(filter(None, text.split(", "))) for label, text in values.items()})
    return found


def rules() -> list[dict[str, Any]]:
    """The rules of every group."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Title and expression of every rule and panel."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_names_metrics_labels_and_values_that_exist(title: str, expression: str) -> None:
    metrics_known = known()
    used = re.findall(r"\b(facegate_\w+)(?:\{([^}]*)\})?", expression)
    assert used or "process_" in expression or "up{" in expression, title
    for name, selector in used:
        base = re.sub(r"_bucket$", "", name)
        assert base in metrics_known, f"{title}: {base} is no metric"
        kind, labels = metrics_known[base]
        assert (kind == "histogram") == name.endswith("_bucket"), f"{title}: {name} is a {kind}"
        assert kind != "counter" or re.search(rf"(rate|increase)\({name}", expression), f"{title}: rate of {name}"
        for label, pattern in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            assert label in labels or label in LABELS_OF_PROMETHEUS, f"{title}: {name} has no label {label}"
            if labels.get(label):
                assert set(pattern.split("|")) <= labels[label], f"{title}: {label} {pattern} of {name}"


def test_every_rule_has_a_test_a_severity_and_a_remedy() -> None:
    tested = {
        case["alertname"]
        for group in yaml.safe_load(TESTS.read_text())["tests"]
        for case in group["alert_rule_test"]
        if case["exp_alerts"]
    }
    for rule in rules():
        assert rule["alert"] in tested, f"{rule['alert']} has no test in which it fires"
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian package prometheus)")
def test_the_rules_fire_as_their_tests_say() -> None:
    assert PROMTOOL is not None
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(TESTS)]):
        done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
