#!/usr/bin/env bash
# Packages: openvino==2026.4.1, onnxruntime==1.32.0, onnx==1.23.2, numpy==2.4.6
#
# Behavior: the operator NonMaxSuppression of one ONNX file treats an overlap that equals iou_threshold
# differently: ONNX Runtime keeps the second box (it suppresses above the threshold), OpenVINO removes it (at or
# above).
#
# Why it matters: with boxes on a pixel grid, as anchors and small faces give, overlaps of exactly 1/2 or 1/4 are
# common. Two people close together are two faces under one runtime and one under the other, so detections recorded
# with one cannot be compared with the other's by count. Expected before the run: the same boxes from both.
#
# Seen: overlap 0.5, threshold 0.5: ONNX Runtime keeps both boxes, OpenVINO one; threshold 0.51: both runtimes keep
# both; threshold 0.49: both keep one.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import numpy as np
import onnxruntime
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

CORE = ov.Core()
boxes = np.array([[[0, 0, 16, 16], [0, 0, 16, 8], [40, 40, 56, 56]]], np.float32)  # the first two overlap by 128 / 256
scores = np.array([[[0.9, 0.8, 0.7]]], np.float32)


def kept(threshold: float) -> tuple[list[int], list[int]]:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["y"])],
            "g",
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, boxes.shape),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores.shape),
            ],
            [helper.make_tensor_value_info("y", TensorProto.INT64, ["k", 3])],
            [
                numpy_helper.from_array(np.array([10], np.int64), "most"),
                numpy_helper.from_array(np.array([threshold], np.float32), "iou"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    data, feed = model.SerializeToString(), {"boxes": boxes, "scores": scores}
    ort = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
    vino = CORE.compile_model(CORE.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feed)[0]
    return ort[:, 2].tolist(), vino[:, 2].tolist()


for threshold in (0.49, 0.5, 0.51):
    ort, vino = kept(threshold)
    print(f"iou_threshold {threshold}: ONNX Runtime keeps {ort}, OpenVINO {vino}")
assert kept(0.49) == ([0, 2], [0, 2])
assert kept(0.5) == ([0, 1, 2], [0, 2])
assert kept(0.51) == ([0, 1, 2], [0, 1, 2])
EOF
