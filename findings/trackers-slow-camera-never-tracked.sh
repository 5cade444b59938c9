#!/usr/bin/env bash
# Packages: trackers==2.6.1, supervision==0.31.2, numpy==2.4.6
#
# Behavior: ByteTrackTracker.update(detections, timestamp=...) gives no id at all, however long a face stands
# still, once frames are further apart than lost_track_buffer / 30 seconds: a track's budget is compared with the
# time since its last detection before the new detections are matched. frame_rate does not enter: frame_rate=1 with
# the default buffer of 30 still means one second. Without timestamps the same detections are tracked from the
# second frame on.
#
# Why it matters: the defaults allow one second. Cameras that send a picture every two seconds, key frames only, or
# a batch that samples a recording get -1 for every face for ever, which looks like a detector that finds nothing.
# Expected before the run: consecutive frames are always matched; the budget counts missed frames.
#
# Seen (default buffer, six frames): 1.0 s apart [-1 0 0 0 0 0]; 1.1 s apart, frame_rate 30 or 1: [-1 -1 -1 -1 -1
# -1]; 1.1 s apart without timestamps [-1 0 0 0 0 0].
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq trackers==2.6.1 supervision==0.31.2 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

face = sv.Detections(xyxy=np.array([[100, 50, 200, 150]], np.float32), confidence=np.array([0.9], np.float32))


def ids(interval_s: float, timestamps: bool = True, **settings: float) -> list[int]:
    tracker = ByteTrackTracker(**settings)
    found = []
    for frame in range(6):
        time = {"timestamp": 1000 + frame * interval_s} if timestamps else {}
        found.append(int(tracker.update(face, **time).tracker_id[0]))
    return found


tracked, lost = [-1, 0, 0, 0, 0, 0], [-1] * 6
for name, seen, expected in (
    ("1.0 s apart", ids(1.0), tracked),
    ("1.1 s apart", ids(1.1), lost),
    ("1.1 s apart, frame_rate=1", ids(1.1, frame_rate=1.0), lost),
    ("1.1 s apart, no timestamps", ids(1.1, timestamps=False), tracked),
    ("1.1 s apart, lost_track_buffer=36", ids(1.1, lost_track_buffer=36), tracked),
):
    print(f"{name}: {seen}")
    assert seen == expected, name
EOF
