"""A run of cameras as several tests need it: started, stopped, its accounts checked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facegate.pipeline.config import CameraConfig, GateConfig, RunConfig, ScorerConfig
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue


def config(*urls: str, weights: Path) -> RunConfig:
    return RunConfig(
        cameras=tuple(CameraConfig(name=f"cam{i}", source=url, timeout_s=3.0) for i, url in enumerate(urls)),
        scorer=ScorerConfig(weights=weights),
        gate=GateConfig(min_quality=0),
    )


@contextmanager
def running(config: RunConfig) -> Iterator[Runner]:
    """A run whose shots are thrown away, stopped at the end of the block; its accounts must be right."""
    queue = ShotQueue()
    drain = threading.Thread(target=lambda: deque(queue, maxlen=0))
    with Runner(config, lambda: queue, on_finished=queue.end) as runner:
        drain.start()
        yield runner
        runner.stop()
        report = runner.close(linger_s=0)
    drain.join()
    assert report.observed == sum(report.outcomes.values())
