"""The metrics of a console as a scraper sees them, those of its gate included."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

from ..exposition import check_exposition, exposition
from ..helpers import free_port
from .serving import served


def test_a_console_counts_its_requests_and_shows_its_processes_and_its_gate(
    tmp_path: Path, camera_url: str
) -> None:
    port = free_port()
    with served(tmp_path / "data", "--metrics", f":{port}") as console:
        text = exposition(port)
        check_exposition(text)
        assert 'facegate_console_http_requests_total{code="5xx",method="DELETE"} 0.0' in text
        assert console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5}).status == 201
        console.until("/cameras", lambda found: found["cameras"][0]["frames_processed"] > 0)
        text = exposition(port)
        check_exposition(text)
        assert 'facegate_console_http_requests_total{code="2xx",method="POST"} 1.0' in text
        for process in ("gate", "worker"):
            assert f'facegate_console_process_running{{process="{process}"}} 1.0' in text
        assert 'facegate_frames_processed_total{camera="door"}' in text, "of its gate"
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            assert json.load(answer) == {"ok": True, "gate": True, "worker": True, "alarms": []}
