"""Cost of a camera's wrong clock: processed frames, tracks and pictures, beside a good camera in the same run.

    python -m benchmarks.clocks --seconds 20

The demo's clip loops over RTSP (25 fps, a key frame every 4 s), five processed frames per second, through the whole
gate. Its faces come and go, so how many tracks there are depends on which fifth of the pictures is looked at, and a
wrong clock processes another fifth than a good one: first, five good cameras, one picture apart, say what that
alone does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import msgspec

from benchmarks.host_info import cpu
from benchmarks.ingest import running, scaled
from facegate.cpu import share_cores
from facegate.demo.clip import make_clip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.config import CameraConfig, DetectorConfig, RunConfig
from facegate.pipeline.records import ScoredFrame
from tests.camera_faults import Faults, wrong_clocks

KINDS = {"good": Faults(), **wrong_clocks(5.0), "holds for 3 s, then bursts": Faults(hold_at_s=6.0)}
MAX_FPS = 5
PHASES = 5
"""One in this many pictures is processed."""
JOINING_S = 3.0


class Watched(msgspec.Struct, frozen=True):
    """Result of one camera."""

    processed_fps: float
    tracks: int
    undecoded: int
    reconnects: int


def watch(movies: Sequence[Movie], faults: Sequence[Faults], seconds: float) -> list[Watched]:
    """Run one camera for each movie, all at once."""
    with ExitStack() as stack:
        cameras = []
        for index, (movie, fault) in enumerate(zip(movies, faults, strict=True)):
            server = stack.enter_context(RtspServer(movie, loop=True, playback=fault))
            cameras.append(CameraConfig(name=str(index), source=server.url, max_fps=MAX_FPS))
        config = RunConfig(cameras=tuple(cameras), detector=DetectorConfig(max_side=320))
        seen: dict[str, set[int]] = {camera.name: set() for camera in cameras}

        def see(frame: ScoredFrame) -> None:
            seen[frame.frame.camera].update(face.track_id for face in frame.faces)

        runner = stack.enter_context(running(config, see))
        while not all(camera.frames_processed for camera in runner.report().cameras):
            sleep(0.1)
        sleep(JOINING_S)
        before, start = runner.report(), monotonic()
        sleep(seconds)
        after, passed = runner.report(), monotonic() - start
    return [
        Watched(
            processed_fps=(new.frames_processed - old.frames_processed) / passed,
            tracks=len(tracks),
            undecoded=new.packets_skipped,
            reconnects=new.reconnects,
        )
        for old, new, tracks in zip(before.cameras, after.cameras, seen.values(), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", metavar="TEXT", default="", help="kinds that have this in their name")
    args = parser.parse_args()
    share_cores()
    print(cpu())
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
        movies = [
            Movie(scaled(clip.path, Path(folder) / f"from-{skip}.mp4", 640, 360, key_every=100, skip=skip))
            for skip in range(PHASES)
        ]
        tracks = [watched.tracks for watched in watch(movies, [Faults()] * PHASES, args.seconds)]
        print(f"tracks of {PHASES} good cameras, one picture apart: {', '.join(map(str, tracks))}", flush=True)
        for kind, fault in KINDS.items():
            if args.only in kind:
                good, bad = watch([movies[0]] * 2, [Faults(), fault], args.seconds)
                print(
                    f"{kind:32s} {bad.processed_fps:5.2f} fps, beside it {good.processed_fps:5.2f} "
                    f"({bad.processed_fps / good.processed_fps:.2f}); tracks {bad.tracks} and {good.tracks}; "
                    f"{bad.undecoded} undecoded, {bad.reconnects} reconnections",
                    flush=True,
                )


if __name__ == "__main__":
    main()
