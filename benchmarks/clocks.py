"""What a camera's wrong clock costs: looks, tracks and pictures, beside a good camera in the same run.

    python -m benchmarks.clocks --seconds 20

The demo's clip loops over RTSP (25 fps, a key frame every 4 s), five looks a second, through the whole gate.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import monotonic, sleep

from benchmarks.ingest import running, scaled
from benchmarks.machine import cpu
from facegate.demo.clip import make_clip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.player import Faults, wrong_clocks
from facegate.demo.rtsp.server import RtspServer
from facegate.pipeline.config import CameraConfig, DetectorConfig, RunConfig
from facegate.pipeline.flow.cores import share_cores
from facegate.pipeline.records import ScoredFrame

KINDS = {"good": Faults(), **wrong_clocks(5.0), "holds for 3 s, then bursts": Faults(hold_at_s=6.0)}
JOINING_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    share_cores()
    print(cpu())
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
        movie = Movie(scaled(clip.path, Path(folder) / "movie.mp4", 640, 360, key_every=100))
        for kind, faults in KINDS.items():
            with RtspServer(movie, loop=True) as good, RtspServer(movie, loop=True, faults=faults) as bad:
                cameras = [
                    CameraConfig(name=name, source=server.url, max_fps=5)
                    for name, server in (("good", good), ("bad", bad))
                ]
                config = RunConfig(cameras=tuple(cameras), detector=DetectorConfig(max_side=320))
                seen: dict[str, set[int]] = {"good": set(), "bad": set()}

                def see(frame: ScoredFrame, seen: dict[str, set[int]] = seen) -> None:
                    seen[frame.frame.camera].update(face.track_id for face in frame.faces)

                with running(config, see) as runner:
                    while not all(camera.frames_processed for camera in runner.report().cameras):
                        sleep(0.1)
                    sleep(JOINING_S)
                    before, start = runner.report(), monotonic()
                    sleep(seconds)
                    after, passed = runner.report(), monotonic() - start
                looks = [
                    (new.frames_processed - old.frames_processed) / passed
                    for old, new in zip(before.cameras, after.cameras, strict=True)
                ]
                wrong = after.cameras[1]
                print(
                    f"{kind:32s} {looks[1]:5.2f} looks/s, beside it {looks[0]:5.2f} ({looks[1] / looks[0]:.2f}); "
                    f"tracks {len(seen['bad'])} and {len(seen['good'])}; {wrong.packets_not_decoded} undecoded, "
                    f"{wrong.reconnects} reconnections",
                    flush=True,
                )


if __name__ == "__main__":
    main()
