#!/usr/bin/env bash
# Packages: openvino==2026.4.1, onnxruntime==1.32.0, onnx==1.23.2, numpy==2.4.6
#
# Behavior: OpenVINO reads an ONNX Resize with antialias=1 (linear and cubic) without a warning and computes it
# without antialiasing: the result equals that of antialias=0 bit for bit. ONNX Runtime filters.
#
# Why it matters: a torch model that resizes with antialias=True is exported with this attribute. Hair, stripes and
# the grid of a screen door then reach a face model as false patterns under OpenVINO and as an even tone under ONNX
# Runtime, and scores and thresholds measured with one runtime do not hold for the other. Expected before the run:
# the same picture from both, or an error at conversion.
#
# Seen: stripes of 0 and 255, eight pixels apart, 160 -> 25 pixels: contrast left with ONNX Runtime 16.8 (linear)
# and 4.2 (cubic), with OpenVINO 255 and 311, the same as with antialias=0.
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
size = 160
# A period of 8 pixels is shorter than two output pixels (12.8): what is left of it is an alias.
wave = np.where(np.arange(size) % 8 < 4, 0.0, 255.0).astype(np.float32)
picture = np.broadcast_to(wave, (1, 1, size, size)).copy()


def run(mode: str, antialias: int) -> tuple[np.ndarray, np.ndarray]:
    node = helper.make_node(
        "Resize", ["x", "", "", "s"], ["y"], mode=mode, antialias=antialias, coordinate_transformation_mode="half_pixel"
    )
    model = helper.make_model(
        helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, picture.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 25, 25])],
            [numpy_helper.from_array(np.array([1, 1, 25, 25], np.int64), "s")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 9
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = CORE.compile_model(CORE.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"x": picture})[0], compiled({"x": picture})[0]


for mode in ("linear", "cubic"):
    plain_ort, plain_ov = run(mode, 0)
    smooth_ort, smooth_ov = run(mode, 1)
    contrast = {name: float(np.ptp(a[0, 0, 5:-5, 5:-5])) for name, a in
                (("ORT", smooth_ort), ("OpenVINO", smooth_ov), ("antialias=0", plain_ort))}
    print(mode, "contrast left (of 255):", {name: round(value, 1) for name, value in contrast.items()})
    assert np.allclose(plain_ort, plain_ov, atol=0.1), "without antialias both agree"
    assert np.array_equal(smooth_ov, plain_ov), "OpenVINO ignores the attribute"
    assert contrast["ORT"] < 0.5 * contrast["OpenVINO"]
EOF
