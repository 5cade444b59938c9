#!/usr/bin/env bash
# Packages: trackers==2.6.1, supervision==0.31.2, numpy==2.4.6
#
# Behavior: ByteTrackTracker treats the two kinds of bad timestamps in opposite ways. A repeated timestamp skips
# the prediction only: its detections count as another consecutive frame, so the same frame given twice confirms a
# track. An earlier timestamp skips the whole update, and does not become the new reference: every later frame is
# skipped too, all faces get -1, and nothing but reset() or the old clock's return ends it.
#
# Why it matters: cameras repeat a timestamp after packet loss and restart their clocks at zero after a
# reconnection. The first turns a one-frame false detection into a confirmed track; the second stops tracking for
# as long as the stream had been running before. Expected before the run: both are rejected with an error, or both
# restart the clock.
#
# Seen: same timestamp twice: -1, then 0; clock from 100 s back to 0 s: 300 frames (10 s) all -1; after reset: -1,
# 0, 0.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq trackers==2.6.1 supervision==0.31.2 numpy==2.4.6
"$T/venv/bin/python" -W ignore::UserWarning - <<'EOF'
import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

face = sv.Detections(xyxy=np.array([[100, 50, 200, 150]], np.float32), confidence=np.array([0.9], np.float32))


def step(tracker: ByteTrackTracker, time_s: float) -> int:
    return int(tracker.update(face, timestamp=time_s).tracker_id[0])


tracker = ByteTrackTracker()
repeated = [step(tracker, 5.0), step(tracker, 5.0)]
print("the same timestamp twice:", repeated)
assert repeated == [-1, 0]

tracker = ByteTrackTracker()
before = [step(tracker, 100 + i / 30) for i in range(5)]
after = [step(tracker, i / 30) for i in range(300)]
print("before the clock restarts:", before, "after:", sorted(set(after)), "in", len(after), "frames")
assert before == [-1, 0, 0, 0, 0] and set(after) == {-1}

tracker.reset()
reset = [step(tracker, 10 + i / 30) for i in range(3)]
print("after reset():", reset)
assert reset == [-1, 0, 0]
EOF
