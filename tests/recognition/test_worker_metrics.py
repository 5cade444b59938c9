"""The metrics of a worker as a scraper sees them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from facegate.demo.clip import DemoClip

from ..exposition import check_exposition, exposition
from ..helpers import PATIENCE_S, facegate, free_port, process, wait_for_line


def counted(text: str, name: str) -> dict[str, float]:
    """Values of a metric by the value of its first label."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_a_worker_counts_from_zero_what_it_recognizes(clip: DemoClip, tiny_model: Path) -> None:
    port, endpoint = free_port(), f"tcp://127.0.0.1:{free_port()}"
    arguments = ("--gallery", clip.gallery, "--connect", endpoint, "--metrics", f":{port}")
    with process("recognize", *arguments) as worker:
        wait_for_line(worker, "worker ready")
        text = exposition(port)
        check_exposition(text)
        assert counted(text, "facegate_worker_shots_total") == {
            "named": 0, "unknown": 0, "duplicate": 0, "invalid": 0,
        }  # fmt: skip
        done = facegate("run", clip.path, "--weights", tiny_model, "--bind", endpoint)
        assert done.returncode == 0, done.stderr
        deadline = monotonic() + 30
        while not counted(exposition(port), "facegate_worker_visit_events_total")["ended"]:
            assert monotonic() < deadline
            sleep(0.1)
        text = exposition(port)
        check_exposition(text)
        shots = counted(text, "facegate_worker_shots_total")
        assert shots["named"] > 0 and shots["invalid"] == 0
        recognized = counted(text, "facegate_worker_recognition_duration_seconds_count")[""]
        assert recognized == shots["named"] + shots["unknown"]
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S) as answer:
            health = json.load(answer)
        assert health["ok"] and health["shots"] == recognized and health["people"] > 0
        worker.send_signal(signal.SIGINT)
        assert worker.wait(PATIENCE_S) == 130
