#!/usr/bin/env bash
# Packages: opencv-python-headless==5.0.0.93, numpy==2.4.6
#
# Behavior: cv2.dnn.blobFromImages() without a size accepts pictures of unequal sizes and stretches all of them to
# the size of the first, without regard to their proportions. The blob therefore depends on the order of the batch.
#
# Why it matters: face crops have many sizes. A crop that was forgotten in resizing, or a model with a dynamic
# input, gives no error: the same face is squeezed by whatever face happens to come first, and its embedding
# changes from batch to batch. Expected before the run: an error, as np.stack() would raise.
#
# Seen: crops of 40 x 20 and 20 x 40: blob 2 x 3 x 40 x 20, in the other order 2 x 3 x 20 x 40; the second crop
# equals cv2.resize() to the first one's size exactly.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq opencv-python-headless==5.0.0.93 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import cv2
import numpy as np

rng = np.random.default_rng(0)
tall, wide = (rng.integers(0, 256, shape, np.uint8) for shape in ((40, 20, 3), (20, 40, 3)))
for first, second in ((tall, wide), (wide, tall)):
    blob = cv2.dnn.blobFromImages([first, second])
    height, width = first.shape[:2]
    stretched = cv2.resize(second, (width, height))
    same = np.array_equal(blob[1].transpose(1, 2, 0), stretched)
    print("first crop", (height, width), "blob", blob.shape, "second stretched:", same)
    assert blob.shape == (2, 3, height, width)
    assert np.array_equal(blob[0].transpose(1, 2, 0), first)
    assert same
EOF
