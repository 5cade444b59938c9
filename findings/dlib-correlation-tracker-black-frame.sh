#!/usr/bin/env bash
# Packages: dlib-bin==20.0.1, numpy==2.4.6
#
# Behavior: one frame that is black from edge to edge breaks a running dlib.correlation_tracker for good. update()
# returns nan, and so does each later update with the original picture; meanwhile the box shrinks and runs off to the top left, out
# of the picture. A uniform frame of any other value does no harm. Only start_track() heals it.
#
# Why it matters: cameras send a black frame when they switch to infrared or change their exposure. The usual test
# "confidence < 7: drop the track" is False for nan, so the track lives on and its crops come from outside the face.
# Expected before the run: confidence near 0 for the black frame, then recovery.
#
# Seen: before 18.9; black frame nan; five more updates with the first picture nan, the box of 135 pixels 21 and falling,
# left edge from 79 to below 0; uniform 16, 127 or 255: 5.1, then above 27.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq dlib-bin==20.0.1 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import math

import dlib
import numpy as np

y, x = np.mgrid[0:300, 0:300]
picture = np.stack([127 + 100 * np.sin(x / 17 + c) * np.cos(y / 23 + 2 * c) for c in range(3)], -1).astype(np.uint8)
target = dlib.rectangle(80, 80, 220, 220)


def started() -> dlib.correlation_tracker:
    tracker = dlib.correlation_tracker()
    tracker.start_track(picture, target)
    return tracker


tracker = started()
before = tracker.update(picture)
wide = tracker.get_position().width()
black = tracker.update(np.zeros_like(picture))
later = [tracker.update(picture) for _ in range(5)]
place = tracker.get_position()
print(f"before {before:.1f}, black frame {black}, then {later}")
print(f"box: {wide:.0f} pixels wide before, now {place.width():.0f}, left edge at {place.left():.0f}")
assert before > 10 and math.isnan(black) and all(map(math.isnan, later))
assert place.width() < 0.5 * wide and place.left() < 0
assert not any(value < 7 for value in later), "a lower limit does not drop the track"
tracker.start_track(picture, target)
assert tracker.update(picture) > 10
for value in (16, 127, 255):
    tracker = started()
    uniform, after = tracker.update(np.full_like(picture, value)), tracker.update(picture)
    print(f"uniform {value}: {uniform:.1f}, then {after:.1f}")
    assert math.isfinite(uniform) and after > 10
EOF
