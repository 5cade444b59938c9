"""What a process serves at ``/metrics``, against the conventions of Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from .helpers import PATIENCE_S

NOT_BASE_UNITS = re.compile(r"_(ms|milliseconds|us|s|minutes|hours|kb|mb|kilobytes|megabytes|percent|p50|p95)(_|$)")
BANNED_LABELS = {"quantile", "said", "to"}
PROMTOOL = shutil.which("promtool")


def exposition(port: int) -> str:
    """The text that a process serves on this host."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
    return text


def check_exposition(text: str) -> None:
    """Names, types, units, labels and help texts are as Prometheus asks; ``promtool`` agrees where it is there."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)) > 10
    assert "facegate_build_info" in names and "process_resident_memory_bytes" in names
    for family in families:
        name, help_text = family.name, family.documentation
        assert re.fullmatch(r"(facegate|process)_[a-z][a-z0-9_]*", name), name
        assert not NOT_BASE_UNITS.search(name), f"{name} is not in base units"
        assert re.fullmatch(r"[A-Z1].+\.", help_text), f"help of {name} is no sentence: {help_text}"
        assert family.type in ("counter", "gauge", "histogram"), f"{name} is of type {family.type}"
        assert not name.endswith("_total"), "the parser takes it off counters; of others it is wrong"
        assert not name.endswith("_created")
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total"), sample.name
            assert not BANNED_LABELS & set(sample.labels), sample
            assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in sample.labels), sample
    if PROMTOOL is not None:
        done = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
