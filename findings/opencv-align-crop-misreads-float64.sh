#!/usr/bin/env bash
# Packages: opencv-python-headless==5.0.0.93, onnx==1.23.2, numpy==2.4.6
#
# Behavior: cv2.FaceRecognizerSF.alignCrop() takes the row of a face as float32, float64, int32 or int64 without an
# error, and reads the bytes of all of them as float32. Only the first gives the face: integers give a black crop,
# float64 one of a single color, a speck of the picture enlarged.
#
# Why it matters: FaceDetectorYN returns float32, but a row scaled back to the full picture by a Python list or a
# float64 array becomes float64 under NumPy's rules, and one rounded to pixels is an integer. Recognition then
# compares patches without a face, and nothing is in the log. One would expect a conversion, or an error about the
# type.
#
# Seen (landmarks already in place, distinct colors in the crop): float32 returns the picture itself, over 10000
# colors; float64, int32, int64: one color.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq opencv-python-headless==5.0.0.93 onnx==1.23.2 numpy==2.4.6
cd "$T"
"$T/venv/bin/python" - <<'EOF'
import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# alignCrop() does not use the network, but an object cannot be made without one.
weights = np.random.default_rng(0).normal(size=(3 * 112 * 112, 8)).astype(np.float32)
model = helper.make_model(
    helper.make_graph(
        [helper.make_node("Flatten", ["data"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "w"], ["fc1"])],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(weights, "w")],
    ),
    opset_imports=[helper.make_opsetid("", 13)],
)
model.ir_version = 8
onnx.save(model, "model.onnx")
recognizer = cv2.FaceRecognizerSF.create("model.onnx", "")

# Where this class wants the eyes, the nose and the corners of the mouth in its crop of 112 x 112.
points = [38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041]
row = np.array([[10, 10, 90, 90, *points, 0.9]])
for seed in range(2):
    picture = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)
    for kind in (np.float32, np.float64, np.int32, np.int64):
        crop = recognizer.alignCrop(picture, row.astype(kind))
        difference, colors = int(cv2.absdiff(crop, picture).max()), len(np.unique(crop.reshape(-1, 3), axis=0))
        print(f"picture {seed}, {np.dtype(kind).name}: largest difference {difference}, {colors} colors")
        assert crop.shape == picture.shape
        assert (difference == 0) == (kind is np.float32)
        assert colors > 10000 if kind is np.float32 else colors == 1
        assert crop.any() == np.issubdtype(kind, np.floating), "integers give black"
EOF
