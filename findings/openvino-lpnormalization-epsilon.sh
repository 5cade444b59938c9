#!/usr/bin/env bash
# Packages: openvino==2026.4.1, onnxruntime==1.32.0, onnx==1.23.2, numpy==2.4.6
#
# Behavior: the ONNX operator LpNormalization has no epsilon. OpenVINO converts it with one that is not negligible:
# the vector is divided by sqrt(sum of squares + 1.19e-7), the spacing of float32 at 1. A vector of length 1e-3
# comes out with length 0.945, one of length 1e-4 with 0.28. ONNX Runtime returns length 1 for both; zeros stay
# zeros in both.
#
# Why it matters: a recognition model may end in this operator, and the length of the embedding before it is a
# known measure of face quality: poor faces have short embeddings. Where a model gives small values, their
# similarities shrink under OpenVINO, and comparing such an embedding with itself no longer gives 1. Expected
# before the run: unit length from both.
#
# Seen (length in -> OpenVINO): 1 -> 1.0000, 1e-2 -> 0.9994, 1e-3 -> 0.9452, 1e-4 -> 0.2782, 1e-5 -> 0.0290.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import numpy as np
import onnxruntime
import openvino as ov
from onnx import TensorProto, helper

CORE = ov.Core()
model = helper.make_model(
    helper.make_graph(
        [helper.make_node("LpNormalization", ["x"], ["y"], axis=1, p=2)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 128])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 128])],
    ),
    opset_imports=[helper.make_opsetid("", 17)],
)
model.ir_version = 9
data = model.SerializeToString()
session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
compiled = CORE.compile_model(CORE.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

direction = np.random.default_rng(1).normal(size=(1, 128))
direction /= np.linalg.norm(direction)
for length, expected in ((1.0, 1.0), (1e-2, 0.9994), (1e-3, 0.9453), (1e-4, 0.2783), (1e-5, 0.0290), (0.0, 0.0)):
    x = (length * direction).astype(np.float32)
    ort = float(np.linalg.norm(session.run(None, {"x": x})[0]))
    vino = float(np.linalg.norm(compiled({"x": x})[0]))
    print(f"length {length:g}: ONNX Runtime {ort:.4f}, OpenVINO {vino:.4f}")
    assert abs(vino - expected) < 2e-3
    assert abs(ort - (length > 0)) < 2e-3
EOF
