"""Everything that a run shows and keeps for a console, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facegate.errors import StoreError
from facegate.pipeline.config import OutputConfig, RunConfig
from facegate.pipeline.control.live import LiveView
from facegate.pipeline.control.server import ControlServer
from facegate.pipeline.control.track_store import TrackBook
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.observability.report import to_json
from facegate.pipeline.records import ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime.reload import ConfigDiff


class DataFolder:
    """The folder in which a gate keeps what a console shows: where what is."""

    def __init__(self, folder: Path) -> None:
        """Make it where it is missing.

        Raises:
            StoreError: it cannot be made.
        """
        self.recordings = folder / "recordings"
        """What gates saw, a folder for each run."""
        self.store = folder / "store.db"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.recordings.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot keep anything in {folder}: {(error.strerror or 'error').lower()}") from error
        self._waiting = folder / "store.spool"

    def with_store_sink(self, config: RunConfig) -> RunConfig:
        """The configuration with the store as one more place for shots."""
        place = OutputConfig(kind="store", path=self.store, spool=self._waiting)
        delivery = config.delivery
        return config.model_copy(
            update={"delivery": delivery.model_copy(update={"outputs": (*delivery.outputs, place)})}
        )


class ConsoleFeed:
    """What a run is asked to keep (``data``) and to answer (``control``); nothing of either by default."""

    def __init__(self, data: Path | None, control: str | None) -> None:
        """Open what is kept.

        Raises:
            StoreError: it cannot be.
        """
        self._control = control
        self._live = LiveView()
        self._data = None if data is None else DataFolder(data)
        self._tracks = None if self._data is None else TrackBook(self._data.store)

    @property
    def recordings(self) -> Path | None:
        """Where the run is to be recorded."""
        return None if self._data is None else self._data.recordings

    def with_store_sink(self, config: RunConfig) -> RunConfig:
        """The configuration as it is to run."""
        return config if self._data is None else self._data.with_store_sink(config)

    def on_frame(self, frame: ScoredFrame) -> None:
        """Take a frame before it is decided; from the gate's thread."""
        self._live.on_frame(frame)
        if self._tracks is not None:
            self._tracks.on_frame(frame)

    def on_decisions(self, decision: Decision) -> None:
        """Take the fate of a face; from the gate's thread."""
        if self._tracks is not None:
            self._tracks.on_decisions(decision)

    @contextmanager
    def attach(self, runner: Runner, reload: Callable[[], ConfigDiff]) -> Iterator[None]:
        """Show and keep this run.

        Args:
            runner: whose :meth:`on_frame` and :meth:`on_decisions` these are.
            reload: goes over to what its configuration file says now.

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
