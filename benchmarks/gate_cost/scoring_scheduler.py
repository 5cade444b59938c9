"""What scoring only the faces that may win leaves out and costs, on recordings in which every face was scored.

    facegate run every-face.yaml --record clip.rec          # a configuration with scorer.every_face
    python -m benchmarks.gate_cost.scoring_scheduler clip.rec other.rec
    python -m benchmarks.gate_cost.scoring_scheduler --fit --fps 5 *.rec

For each frame rate: the share of faces that would have been scored; over tracks of five faces or more, how much
better the best face was than the best that was scored, mean and worst, and the percentile of that in the track.
``--fit`` prints the slopes within tracks that the contest begins with.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.scoring_scheduler import ScoringScheduler, face_features
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.records import ScoredFace, ScoredFrame, TrackedFace


def thinned(frames: Iterator[ScoredFrame], fps: float) -> Iterator[ScoredFrame]:
    """Frames no closer than a camera limited to ``fps`` would give."""
    last = -1e9
    for frame in frames:
        if frame.frame.pts_s - last > 1 / fps - 0.01:
            last = frame.frame.pts_s
            yield frame
        elif frame.ended:
            yield msgspec.structs.replace(frame, faces=())


def tracked(face: ScoredFace) -> TrackedFace:
    return TrackedFace(face=face.face, track_id=face.track_id)


def play(recording: Recording, fps: float, settings: GateSettings) -> tuple[int, int, list[tuple[int, int, float]]]:
    """Faces, faces scored, and per track best quality, best scored quality and the latter's percentile."""
    contests: dict[str, ScoringScheduler] = {}
    every: dict[tuple[str, int], list[int]] = {}
    chosen: dict[tuple[str, int], int] = {}
    faces = scored = 0
    for frame in thinned(recording.frames(), fps):
        camera = frame.frame.camera
        contest = contests.setdefault(camera, ScoringScheduler(settings, "benchmark"))
        wanted = contest.select([tracked(face) for face in frame.faces])
        kept = [face for face, want in zip(frame.faces, wanted, strict=True) if want]
        contest.scored(kept)
        contest.ended(frame.ended)
        faces += len(frame.faces)
        scored += len(kept)
        for face in frame.faces:
            every.setdefault((camera, face.track_id), []).append(face.quality)
        for face in kept:
            key = (camera, face.track_id)
            chosen[key] = max(chosen.get(key, 0), face.quality)
    tracks = [
        (max(qualities), chosen[key], 100 * float(np.mean(np.array(qualities) <= chosen[key])))
        for key, qualities in every.items()
        if len(qualities) >= 5
    ]
    return faces, scored, tracks


def fit(recordings: list[Recording], lag_s: float = 0.2) -> None:
    """Least squares of changes of quality on changes of what can be seen, within tracks."""
    rows, changes = [], []
    for recording in recordings:
        last: dict[tuple[str, int], tuple[float, int, np.ndarray]] = {}
        for frame in recording.frames():
            for face in frame.faces:
                key, now = (frame.frame.camera, face.track_id), frame.frame.pts_s
                if key in last and now - last[key][0] < lag_s:
                    continue
                gray = cv2.cvtColor(face.face.crop, cv2.COLOR_RGB2GRAY)
                seen = face_features(tracked(face), gray)
                if key in last and now - last[key][0] < 2 * lag_s:
                    rows.append(seen - last[key][2])
                    changes.append(face.quality - last[key][1])
                last[key] = (now, face.quality, seen)
    slopes, *_ = np.linalg.lstsq(np.array(rows), np.array(changes), rcond=None)
    rest = np.array(changes) - np.array(rows) @ slopes
    print(f"slopes {slopes.round(1)}; changes {np.std(changes):.1f}, unexplained {rest.std():.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--fps", type=float, action="append")
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    recordings = [Recording(path) for path in args.recordings]
    if args.fit:
        fit(recordings)
    for fps in args.fps or (5.0, 25.0):
        faces = scored = 0
        tracks: list[tuple[int, int, float]] = []
        for recording in recordings:
            seen, kept, ends = play(recording, fps, GateSettings())
            faces, scored, tracks = faces + seen, scored + kept, tracks + ends
        loss = np.array([best - got for best, got, _ in tracks])
        print(
            f"{fps:g} fps: {scored / faces:.3f} of {faces} faces scored; {len(tracks)} tracks, best quality "
            f"{loss.mean():.2f} lower (worst {loss.max()}), percentile {np.mean([p for *_, p in tracks]):.1f}"
        )


if __name__ == "__main__":
    main()
