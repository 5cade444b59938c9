#!/usr/bin/env bash
# Packages: supervision==0.31.2, opencv-python-headless==5.0.0.93, numpy==2.4.6
#
# Behavior: among boxes with the same confidence, Detections.with_nms() keeps the last one of a group, with_nmm()
# builds on the last one too, and both differ from cv2.dnn.NMSBoxes, which keeps the first.
#
# Why it matters: quantized detectors report the same confidence for neighboring anchors of one face all the time,
# and landmarks travel in Detections.data. Which anchor's landmarks, and so which aligned crop and embedding,
# survive depends on the library; sorting the detections best first and relying on "first wins" selects the other
# one here. Expected before the run: the first is kept, as by a stable sort.
#
# Seen: four boxes, three of them equal: with_nms keeps 2 and 3, cv2.dnn.NMSBoxes 0 and 3.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq supervision==0.31.2 opencv-python-headless==5.0.0.93 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import cv2
import numpy as np
import supervision as sv

xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
faces = sv.Detections(
    xyxy=xyxy,
    confidence=np.full(4, 0.9, np.float32),
    class_id=np.zeros(4, int),
    data={"anchor": np.arange(4)},
)
nms = sorted(faces.with_nms(0.5).data["anchor"].tolist())
nmm = sorted(faces.with_nmm(0.5).data["anchor"].tolist())
opencv = sorted(np.ravel(cv2.dnn.NMSBoxes([[0, 0, 10, 10]] * 3 + [[50, 50, 10, 10]], [0.9] * 4, 0.0, 0.5)).tolist())
print("with_nms", nms, "with_nmm", nmm, "cv2.dnn.NMSBoxes", opencv)
assert nms == [2, 3] and nmm == [2, 3] and opencv == [0, 3]
EOF
