"""Health and metrics as a scraper sees them, and reloading a running gate, through the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.errors import ConfigError
from facegate.pipeline.observability.metrics import Monitor
from facegate.pipeline.records import Outcome

from ...exposition import check_exposition, exposition
from ...helpers import PATIENCE_S, free_port, process, wait_for_line


def scrape(port: int) -> dict[tuple[str, str], float]:
    """Value by metric and camera (and state, where it is 1)."""
    return samples(exposition(port))


def samples(text: str) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "facegate_camera_state":
                if sample.value:
                    found[(sample.labels["state"], sample.labels["camera"])] = 1.0
            else:
                found[(sample.name, sample.labels.get("camera", ""))] = sample.value
    return found


def until(port: int, metric: str, camera: str, more_than: float = 0.0) -> dict[tuple[str, str], float]:
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        seen = scrape(port)
        if seen.get((metric, camera), -1.0) > more_than:
            return seen
        sleep(0.1)
    raise AssertionError(f"{metric} of {camera} never rose above {more_than}")


def write(path: Path, weights: Path, cameras: dict[str, dict[str, object]]) -> None:
    path.write_text(
        yaml.safe_dump(
            {
                "cameras": [{"name": name, "timeout_s": 1.0} | settings for name, settings in cameras.items()],
                "scorer": {"weights": str(weights)},
                "delivery": {"bind": f"tcp://127.0.0.1:{free_port()}"},
            }
        )
    )


def test_cameras_come_go_and_change_while_the_others_do_not_blink(
    clip: DemoClip, tiny_model: Path, tmp_path: Path
) -> None:
    config, report, port = tmp_path / "site.yaml", tmp_path / "report.json", free_port()
    with RtspServer(Movie(clip.path), loop=True) as server:
        url = {"source": server.url}
        write(config, tiny_model, {"stays": url, "goes": url, "changes": url})
        with process("run", config, "--metrics", f":{port}", "--report", report, "--linger", 0) as gate:
            wait_for_line(gate, "camera live")
            for camera in ("stays", "goes", "changes"):
                until(port, "facegate_frames_processed_total", camera)
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S) as answer:
                health = json.load(answer)
            assert health["ok"] and health["cameras"] == {"stays": "live", "goes": "live", "changes": "live"}
            text = exposition(port)
            check_exposition(text)
            for outcome in Outcome:
                assert f'facegate_outcomes_total{{camera="stays",outcome="{outcome.value}"}}' in text
            for result in ("conclusive", "inconclusive", "invalid"):
                assert f'facegate_recognition_feedback_total{{result="{result}"}} 0.0' in text
            assert 'facegate_build_info{python_version="' in text and "process_cpu_seconds_total" in text
            counted = samples(text)
            assert counted["facegate_frame_age_seconds_count", "stays"] > 0
            assert counted["facegate_frame_age_seconds_bucket", "stays"] > 0, "the last bucket has them all"

            config.write_text("cameras: [{name: broken")
            gate.send_signal(signal.SIGHUP)
            assert "not valid YAML" in wait_for_line(gate, "configuration rejected")[-1]

            write(config, tiny_model, {"stays": url, "changes": url | {"max_fps": 2.0}, "comes": url})
            gate.send_signal(signal.SIGHUP)
            assert "comes" in wait_for_line(gate, "configuration reloaded")[-1]
            before = until(port, "ended", "goes")
            until(port, "facegate_frames_processed_total", "comes")
            seen = until(
                port,
                "facegate_frames_received_total",
                "stays",
                before[("facegate_frames_received_total", "stays")] + 10,
            )
            assert ("live", "stays") in seen and seen[("facegate_camera_reconnects_total", "stays")] == 0
            until(
                port,
                "facegate_frames_received_total",
                "changes",
                before[("facegate_frames_received_total", "changes")],
            )
            write(config, tiny_model, {"stays": url, "goes": url, "comes": url})
            gate.send_signal(signal.SIGHUP)
            wait_for_line(gate, "configuration reloaded")
            before = scrape(port)
            until(
                port,
                "facegate_frames_received_total",
                "goes",
                before[("facegate_frames_received_total", "goes")],
            )
            gate.send_signal(signal.SIGINT)
            assert gate.wait(PATIENCE_S) == 130
    result = json.loads(report.read_text())
    assert result["observed"] == sum(result["outcomes"].values()) > 0
    assert sorted(camera["camera"] for camera in result["cameras"]) == ["changes", "comes", "goes", "stays"]
    assert all(camera["age_ms"]["p50"] >= 0 for camera in result["cameras"])
    for camera in result["cameras"]:
        assert camera["processed_fps"] == pytest.approx(camera["frames_processed"] / result["duration_s"], abs=0.01)
    assert before[("facegate_shots_accepted_total", "")] >= 0


def test_nothing_else_is_served_and_no_camera_is_not_healthy(tiny_model: Path, tmp_path: Path) -> None:
    config, port = tmp_path / "site.yaml", free_port()
    write(config, tiny_model, {"dead": {"source": f"rtsp://me:s3cret@127.0.0.1:{free_port()}/x"}})
    with process("run", config, "--metrics", f":{port}") as gate:
        wait_for_line(gate, "camera unreachable")
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S)
        body = caught.value.read().decode()
        assert caught.value.code == 503 and "connection refused" in body and "s3cret" not in body
        with pytest.raises(HTTPError) as missing:
            urlopen(f"http://127.0.0.1:{port}/etc/passwd", timeout=PATIENCE_S)
        assert missing.value.code == 404
        gate.send_signal(signal.SIGTERM)
        assert gate.wait(PATIENCE_S) == 143


@pytest.mark.parametrize("bind", ["127.0.0.1:99999", "nowhere", "192.0.2.1:80"])
def test_an_address_that_cannot_be_bound_is_refused(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot serve health and metrics|is not an address"):
        Monitor(bind, lambda: None)  # type: ignore[arg-type, return-value]
