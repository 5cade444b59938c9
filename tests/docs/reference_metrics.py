"""The reference of the metrics: what each collector yields for a run with one camera."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from facegate.console.metrics import ConsoleCollector, Requests
from facegate.pipeline.gating.recall_threshold import RecallLoss
from facegate.pipeline.observability.metrics import FleetHealth, RunCollector
from facegate.pipeline.observability.report import (
    CameraReport,
    CameraState,
    CostReport,
    RunReport,
    ScoringReport,
)
from facegate.recognition.worker.metrics import WorkerMetrics
from facegate.sinks.base import DeliveryReport
from facegate.subprocesses import SubprocessState

ROOT = Path(__file__).parent.parent.parent
HISTOGRAMS = (
    "pipeline/stages/detect.py",
    "pipeline/stages/score.py",
)
"""The histograms of a gate are made with its stages, which need models; their sources are read."""


def metrics() -> str:
    """Every metric of gate, worker and console."""
    console = ConsoleCollector(
        lambda: (_process("gate"), _process("worker")),
        lambda: {"store": 0, "recordings": 0, "free": 0},
        list,
        lambda: None,
    )
    common = (
        ("facegate_build_info", "gauge", "version, python_version", "Version of facegate and of Python."),
        ("process_*", "", "", "Memory, processor time, file descriptors and start time of the process."),
    )
    parts = (
        ("Every process", common),
        (
            "A gate (`facegate run --metrics`)",
            sorted([*_rows([RunCollector(_report, tuple, _fleet)]), *_histograms()]),
        ),
        ("A worker (`facegate recognize --metrics`)", sorted(_rows([WorkerMetrics(lambda: 0)]))),
        ("A console (`facegate serve --metrics`)", sorted(_rows([Requests(), console]))),
    )
    return "\n".join(
        f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        + "".join(f"| `{name}` | {kind} | {labels} | {text} |\n" for name, kind, labels, text in rows)
        for title, rows in parts
    )


def _rows(collectors: Iterable[Collector]) -> Iterator[tuple[str, str, str, str]]:
    for collector in collectors:
        for metric in collector.collect():
            yield _row(metric)


def _row(metric: Metric) -> tuple[str, str, str, str]:
    labels: dict[str, dict[str, None]] = {}
    for sample in metric.samples:
        for label, value in sample.labels.items():
            if label != "le":
                labels.setdefault(label, {})[value] = None
    shown = ", ".join(f"`{label}`{_values(label, list(values))}" for label, values in labels.items())
    name = metric.name + ("_total" if metric.type == "counter" else "")
    return name, metric.type, shown, metric.documentation


def _values(label: str, values: list[str]) -> str:
    """The values of a label, unless they come from the configuration."""
    return "" if label in ("camera", "destination", "outcome") else f" ({', '.join(values)})"


def _histograms() -> Iterator[tuple[str, str, str, str]]:
    for path in HISTOGRAMS:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Histogram":
                name, text, *labels = (ast.literal_eval(each) for each in node.args)
                yield name, "histogram", ", ".join(f"`{label}`" for label in (labels[0] if labels else ())), text


def _process(name: str) -> SubprocessState:
    return SubprocessState(name, False, None, None, 0, None, None)


def _fleet() -> FleetHealth:
    return FleetHealth(connected=True, lease_s=0.0, watching=0, config=0, problem=None)


def _report() -> RunReport:
    camera = CameraReport(
        camera="door", state=CameraState.LIVE, problem=None, frames_received=0, frames_processed=0,
        processed_fps=0.0, frames_searched=0, frames_overwritten=0, frames_without_motion=0, packets_skipped=0,
        packets_idle=0, age_ms=None, reconnects=0, decode_s=0.0, observed=0, outcomes={}, threshold=0,
        identity_switches=0,
        loss=RecallLoss(0, 0.0, 0.0, 0.0, 0),
    )  # fmt: skip
    cost = CostReport(
        decode_s=0, detect_s=0, track_s=0, score_s=0, gate_s=0, deliver_s=0, rest_s=0, frames=0, cores=0
    )
    scoring = ScoringReport("", "", "", 0, 0.0, 0, 0.0, 0.0, 0.0)
    return RunReport(
        run_id="", duration_s=0.0, interrupted=False, detector="", algorithm="", model="", frames_received=0,
        frames_processed=0, observed=0, outcomes={}, tracks=0, shots=0, scoring=scoring, delivery=DeliveryReport(),
        cameras=(camera,), cost=cost,
    )  # fmt: skip
