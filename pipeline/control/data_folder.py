"""What a run stores and serves for a console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facegate.errors import StoreError, os_errors
from facegate.pipeline.config import OutputConfig, RunConfig
from facegate.pipeline.control.live import LiveView
from facegate.pipeline.control.server import ControlServer
from facegate.pipeline.control.track_store import TrackBook
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.observability.report import to_json
from facegate.pipeline.recording.clips import ClipRecorders
from facegate.pipeline.records import ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime.reload import ConfigDiff
from facegate.store.writer import visit_id


class DataFolder:
    """Layout of the folder that a gate and its console share."""

    def __init__(self, folder: Path) -> None:
        """Create it if missing.

        Raises:
            StoreError: it cannot be created.
        """
        self.recordings = folder / "recordings"
        """Recordings, one folder per run."""
        self.store = folder / "store.db"
        with os_errors(StoreError, f"cannot create {folder}"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.recordings.mkdir(exist_ok=True, mode=0o700)
        self._waiting = folder / "store.spool"

    def with_store_sink(self, config: RunConfig) -> RunConfig:
        """Return the configuration with the store as a further output."""
        output = OutputConfig(kind="store", path=self.store, spool=self._waiting)
        delivery = config.delivery
        return config.model_copy(
            update={"delivery": delivery.model_copy(update={"outputs": (*delivery.outputs, output)})}
        )


class ConsoleFeed:
    """Stores a run's data (``data``) and serves its control socket (``control``); neither by default."""

    def __init__(self, data: Path | None, control: str | None) -> None:
        """Open the data folder.

        Raises:
            StoreError: it cannot be opened.
        """
        self._control = control
        self._live = LiveView()
        self._data = None if data is None else DataFolder(data)
        self._tracks = None if self._data is None else TrackBook(self._data.store)
        self.clips = None if self._tracks is None else ClipRecorders(self._tracks.on_clip)
        """Cut seconds of video around visits."""

    @property
    def recordings(self) -> Path | None:
        """Folder for the recording of this run."""
        return None if self._data is None else self._data.recordings

    def with_store_sink(self, config: RunConfig) -> RunConfig:
        """Return the configuration to run."""
        return config if self._data is None else self._data.with_store_sink(config)

    def on_frame(self, frame: ScoredFrame) -> None:
        """Take a scored frame before its decisions; called from the gate's thread."""
        self._live.on_frame(frame)
        if self._tracks is not None:
            self._tracks.on_frame(frame)

    def on_decisions(self, decision: Decision) -> None:
        """Take a decision; called from the gate's thread."""
        if self._tracks is not None:
            self._tracks.on_decisions(decision)
        shot = decision.shot
        if self.clips is not None and shot is not None and shot.rank == 1:
            frame = shot.scored.face.frame
            visit = visit_id(shot.run_id, shot.camera, shot.track_id)
            self.clips.begin(shot.camera, visit, frame.received_s - frame.behind_s)

    @contextmanager
    def attach(self, runner: Runner, reload: Callable[[], ConfigDiff]) -> Iterator[None]:
        """Serve and store this run.

        Args:
            runner: the run that calls :meth:`on_frame` and :meth:`on_decisions`.
            reload: reloads its configuration file.

        Raises:
            DeliveryError: the control socket cannot be bound.
        """
        self._live.attach(runner.latest_frame, runner.current_people, runner.info.model)
        with ExitStack() as opened:
            if self._tracks is not None:
                opened.enter_context(self._tracks.attach(runner.run_id, runner.recording_position))
            if self._control is not None:
                opened.enter_context(
                    ControlServer(
                        self._control,
                        run_id=runner.run_id,
                        report=lambda: to_json(runner.report()),
                        reload=reload,
                        live=self._live,
                    )
                )
            yield
