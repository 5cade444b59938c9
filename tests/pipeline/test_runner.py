"""A whole run in this process: files lose nothing, errors come out, stopping leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import av
import numpy as np
import pytest

import facegate
from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.errors import SourceError, StageError
from facegate.pipeline.config import CameraConfig, GateConfig, RunConfig, ScorerConfig
from facegate.pipeline.observability.report import CameraState, RunReport
from facegate.pipeline.records import Detection, FeedbackBatch, Image, LiveTracks, Shot, TrackEnd
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime import models
from facegate.pipeline.stages import gate as gate_stage
from facegate.pipeline.watch import ShotQueue
from facegate.sinks.base import REPEAT_S, CameraStatus, DeliveryReport, TrackNews

from ..helpers import PATIENCE_S


class Collector:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self.told: list[dict[str, CameraStatus]] = []

    def ended(self, *tracks: TrackEnd) -> None:
        pass

    def live(self, tracks: LiveTracks) -> None:
        pass

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        self.told.append(dict(cameras))

    def feedback(self) -> FeedbackBatch:
        return FeedbackBatch(expected=False)

    def send(self, *shots: Shot) -> None:
        self.shots.extend(shots)

    def report(self) -> DeliveryReport:
        return DeliveryReport(accepted=len(self.shots), acknowledged=len(self.shots))

    def close(self, linger_s: float) -> DeliveryReport:
        return self.report()

    def abort(self) -> None:
        pass


@pytest.fixture
def config(tiny_model: Path) -> Callable[..., RunConfig]:
    """A configuration of cameras with these sources, scored by a tiny model."""

    def make(*sources: Path | str) -> RunConfig:
        cameras = tuple(CameraConfig(name=f"cam{i}", source=str(s)) for i, s in enumerate(sources))
        return RunConfig(cameras=cameras, scorer=ScorerConfig(weights=tiny_model), gate=GateConfig(min_quality=0))

    return make


Make = Callable[..., RunConfig]


def run(settings: RunConfig, run_id: str | None = None) -> tuple[RunReport, list[Shot]]:
    sink = Collector()
    runner = Runner(settings, lambda: sink, run_id=run_id)
    runner.start()
    return runner.close(), sink.shots


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("facegate-")]


def test_a_file_run_processes_every_frame_and_accounts_for_every_face(short_clip: Path, config: Make) -> None:
    report, shots = run(config(short_clip))
    assert (report.frames_received, report.frames_processed) == (50, 50)
    assert report.observed == sum(report.outcomes.values()) > 40
    assert report.shots == len(shots) == report.outcomes["forwarded"] > 0
    assert report.cameras[0].state is CameraState.ENDED and not report.interrupted
    assert {shot.crop.shape for shot in shots} == {(112, 112, 3)}


def test_two_runs_over_a_file_decide_the_same(short_clip: Path, config: Make) -> None:
    (first, a), (second, b) = (run(config(short_clip), run_id="fixed") for _ in range(2))
    assert [shot.shot_id for shot in a] == [shot.shot_id for shot in b]
    assert first.outcomes == second.outcomes


def test_parts_of_a_recording_joined_have_the_tracks_of_the_whole(
    short_clip: Path, tmp_path: Path, config: Make
) -> None:
    """An empty room for longer than the people are there: the stamps of the second part begin below the first's."""
    with av.open(str(short_clip)) as reader:
        people = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
    room = [np.full_like(people[0], 90)] * 80

    def write(name: str, pictures: list[Image]) -> Path:
        with av.open(str(tmp_path / name), "w") as writer:
            out = writer.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "10"})
            out.width, out.height, out.pix_fmt = people[0].shape[1], people[0].shape[0], "yuv420p"
            out.codec_context.max_b_frames = 0
            for picture in pictures:
                writer.mux(out.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            writer.mux(out.encode())
        return tmp_path / name

    joined = tmp_path / "joined.ts"
    joined.write_bytes(write("room.ts", room).read_bytes() + write("people.ts", people).read_bytes())
    (whole, _), (parts, shots) = run(config(write("whole.ts", room + people))), run(config(joined))
    assert (parts.tracks, parts.shots, parts.observed) == (whole.tracks, whole.shots, whole.observed)
    assert parts.tracks > 0 and len(shots) == parts.shots
    assert parts.outcomes["untracked"] == whole.outcomes["untracked"], "each is seen once before it has a track"


def test_a_failing_camera_does_not_take_the_others_down(short_clip: Path, tmp_path: Path, config: Make) -> None:
    report, _ = run(config(short_clip, tmp_path / "none.mp4"))
    good, bad = report.cameras
    assert (good.state, good.frames_processed) == (CameraState.ENDED, 50)
    assert bad.state is CameraState.FAILED and bad.problem is not None and "no video file" in bad.problem


def test_the_sink_hears_how_each_camera_is_doing_from_the_start(clip: DemoClip, config: Make) -> None:
    def until(*reached: tuple[str, str]) -> None:
        deadline = monotonic() + 60
        while {(name, status.state) for name, status in sink.told[-1].items()} != set(reached):
            assert monotonic() < deadline, sink.told[-1]
            sleep(0.02)

    sink = Collector()
    with RtspServer(Movie(clip.path), loop=True) as server:
        runner = Runner(config(server.url, "rtsp://127.0.0.1:9/live"), lambda: sink)
        assert not sink.told
        with runner:
            assert {name: status.state for name, status in sink.told[0].items()} == {
                "cam0": "connecting", "cam1": "connecting",
            }  # fmt: skip
            until(("cam0", "live"), ("cam1", "stalled"))
            assert "127.0.0.1" in str(sink.told[-1]["cam1"].problem)
            runner.reload(runner.config.model_copy(update={"cameras": runner.config.cameras[:1]}))
            until(("cam0", "live"))
            server.__exit__(None, None, None)
            until(("cam0", "stalled"))


def test_a_run_in_which_no_camera_works_raises_the_cameras_error(tmp_path: Path, config: Make) -> None:
    with pytest.raises(SourceError, match="no video file"):
        run(config(tmp_path / "none.mp4"))


def test_a_stage_error_stops_everything_and_is_raised_with_the_stages_name(
    short_clip: Path, monkeypatch: pytest.MonkeyPatch, config: Make
) -> None:
    class Broken:
        name = "broken"
        smallest_px = 24.0

        def detect(self, images: Sequence[Image], known: object = None) -> list[list[Detection]]:
            raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(models, "load_detector", lambda *a, **k: Broken())
    with pytest.raises(StageError, match="stage 'detect' failed: ZeroDivisionError: on purpose"):
        run(config(short_clip))
    assert own_threads() == []


def test_stopping_in_the_middle_is_quick_and_every_face_still_has_one_outcome(clip: object, config: Make) -> None:
    sink = Collector()
    path: Path = clip.path  # type: ignore[attr-defined]
    runner = Runner(config(path), lambda: sink)
    runner.start()
    while runner.report().frames_processed < 10:
        assert not runner.wait(0.05)
    runner.stop()
    report = runner.close(linger_s=0.0)  # how soon is measured on the command line, in its own test
    assert report.interrupted and report.frames_processed < 300
    assert report.observed == sum(report.outcomes.values())
    assert own_threads() == []


def test_watch_yields_shots_and_leaves_no_thread(short_clip: Path) -> None:
    with facegate.watch(short_clip) as shots:
        seen = list(shots)
    assert seen and all(0 <= shot.quality <= 100 and shot.pts_s <= 2.0 for shot in seen)
    assert {shot.landmarks.shape for shot in seen} == {(5, 2)}
    assert own_threads() == []


def test_leaving_a_watch_early_stops_every_thread(clip: object, config: Make) -> None:
    with facegate.watch(config(clip.path)) as shots:  # type: ignore[attr-defined]
        first = next(shots)
    assert isinstance(first, Shot) and np.isfinite(first.scored.raw_score)
    assert own_threads() == []


def test_watch_raises_the_sources_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video file"), facegate.watch(tmp_path / "none.mp4") as shots:
        list(shots)


def test_a_queue_that_nobody_reads_makes_the_pipeline_wait() -> None:
    queue = ShotQueue()
    sender = threading.Thread(target=lambda: [queue.send(object()) for _ in range(65)], daemon=True)  # type: ignore[arg-type, func-returns-value]
    sender.start()
    sender.join(0.3)
    assert sender.is_alive()
    queue.channel.take()
    sender.join(PATIENCE_S)
    assert not sender.is_alive()


def test_a_run_reports_its_live_tracks_from_the_start_and_each_of_them_until_its_end(
    short_clip: Path, config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_stage, "LIVE_S", 0.0)
    happened: list[tuple[str, frozenset[int]]] = []

    class Order(Collector):
        def send(self, *shots: Shot) -> None:
            happened.extend(("shot", frozenset({shot.track_id})) for shot in shots)

        def ended(self, *tracks: TrackEnd) -> None:
            happened.extend(("end", frozenset({end.track_id})) for end in tracks)

        def live(self, tracks: LiveTracks) -> None:
            happened.append(("live", frozenset(i for ids in tracks.cameras.values() for i in ids)))

    Runner(config(short_clip), Order, run_id="r").__enter__().close()
    assert happened[0][0] == "live"
    present: set[int] = set()
    for kind, tracks in happened:
        present = present | tracks if kind == "shot" else present - tracks if kind == "end" else present
        if kind == "live":
            assert present <= tracks, "a track of which a shot was sent lives until its end is told"
    assert not present and any(kind == "live" and tracks for kind, tracks in happened)


def test_live_tracks_are_told_once_for_each_report_and_again_while_the_pipeline_waits() -> None:
    news = TrackNews()
    news.live(LiveTracks("r", {"door": (1, 2)}))
    (told,) = news.take_live(0.0)
    assert told.cameras == {"door": [1, 2]} and news.take_live(0.5) == []
    assert news.take_live(REPEAT_S) != []
    news.live(LiveTracks("r", {"door": ()}))
    (told,) = news.take_live(REPEAT_S)
    assert told.cameras == {"door": []}
