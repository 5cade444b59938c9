#!/usr/bin/env bash
# Packages: opencv-python-headless==5.0.0.93, numpy==2.4.6
#
# Behavior: cv2.dnn.NMSBoxesBatched separates classes by moving class c by c * (largest coordinate + 1) in x and y.
# A box with negative coordinates is then moved into the region of the class before it, and a box there suppresses
# it, although they belong to different classes. The result depends on the numbering: with the two class ids
# swapped both boxes stay.
#
# Why it matters: this function is handy for suppressing per picture in a batch (the picture's number as class).
# Boxes of faces at the top or left border are negative as soon as they are squared or regressed. In square
# pictures a face at the bottom right of one picture then removes a face at the top left of the next one. Expected
# before the run: classes never affect each other.
#
# Seen: [90 90 10 10] of class 0 and [-11 -11 10 10] of class 1: only the first is kept; with the classes swapped,
# both.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq opencv-python-headless==5.0.0.93 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import cv2
import numpy as np


def kept(boxes: list[list[float]], classes: list[int]) -> list[int]:
    return sorted(np.ravel(cv2.dnn.NMSBoxesBatched(boxes, [0.9, 0.8], classes, 0.0, 0.5)).tolist())


corner, border, inside = [90.0, 90, 10, 10], [-11.0, -11, 10, 10], [0.0, 0, 10, 10]
print("classes 0 and 1:", kept([corner, border], [0, 1]))
print("classes 1 and 0:", kept([corner, border], [1, 0]))
print("no negative coordinates:", kept([corner, inside], [0, 1]))
assert kept([corner, border], [0, 1]) == [0]
assert kept([corner, border], [1, 0]) == [0, 1]
assert kept([corner, inside], [0, 1]) == [0, 1]
half_outside = kept([[60.0, 60, 40, 40], [-35.0, -35, 40, 40]], [0, 1])
print("a box that still shows in its picture:", half_outside)
assert half_outside == [0]
EOF
