#!/usr/bin/env bash
# Packages: supervision==0.31.2, trackers==2.6.1, numpy==2.4.6
#
# Behavior: the trackers package gives every detection that has no confirmed track yet the id -1. supervision's
# DetectionsSmoother takes -1 for a track like any other: all of a frame's detections with -1 become one, whose box
# is the mean of theirs, also with those of the frames before. Two new faces turn into one box between them.
# LineZone, in the same package, ignores -1.
#
# Why it matters: both packages come from one maker and their results are passed on as they are. Whoever enters the
# picture is -1 in the first frame, so people who enter together are replaced by a region where nobody is, and the
# crop of it, with the data (landmarks) of the last one, goes to recognition. Expected before the run: detections
# with -1 pass unchanged.
#
# Seen: faces at x = 0 and 400 enter: the tracker returns -1 and -1; smoothed, one box at x = 200. One person
# crosses a line as -1: LineZone counts 0.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq supervision==0.31.2 trackers==2.6.1 numpy==2.4.6
"$T/venv/bin/python" -W ignore - <<'EOF'
import numpy as np
import supervision as sv
from trackers import ByteTrackTracker


def faces(*lefts: float) -> sv.Detections:
    return sv.Detections(
        xyxy=np.array([[left, 100, left + 80, 200] for left in lefts], np.float32),
        confidence=np.full(len(lefts), 0.9, np.float32),
        class_id=np.zeros(len(lefts), int),
        data={"landmarks_of": np.arange(len(lefts))},
    )


entering = ByteTrackTracker().update(faces(0, 400))
smoothed = sv.DetectionsSmoother(length=3).update_with_detections(entering)
print("tracked:", entering.tracker_id.tolist(), entering.xyxy[:, 0].tolist())
print("smoothed:", smoothed.tracker_id.tolist(), smoothed.xyxy[:, 0].tolist(), "data", smoothed.data)
assert entering.tracker_id.tolist() == [-1, -1]
assert smoothed.tracker_id.tolist() == [-1] and smoothed.xyxy[0, 0] == 200
assert smoothed.data["landmarks_of"].tolist() == [1]

line = sv.LineZone(start=sv.Point(300, 0), end=sv.Point(300, 400), triggering_anchors=[sv.Position.CENTER])
for left in (0, 500, 0, 500):
    walker = faces(left)
    walker.tracker_id = np.array([-1])
    line.trigger(walker)
print("line crossings counted for -1:", line.in_count + line.out_count)
assert line.in_count + line.out_count == 0
EOF
