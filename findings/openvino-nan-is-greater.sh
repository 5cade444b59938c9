#!/usr/bin/env bash
# Packages: openvino==2026.4.1, onnxruntime==1.32.0, onnx==1.23.2, numpy==2.4.6
#
# Behavior: in a graph run by OpenVINO's CPU plugin (x86-64), Greater and GreaterOrEqual return True where an
# operand is NaN; Less, LessOrEqual and Equal return False. So NaN > 0.5 holds and NaN < 0.5 does not. ONNX Runtime
# returns False for all five, as IEEE 754 asks. Where() on such a mask selects the branch for "greater".
#
# Why it matters: a threshold that was moved into the model ("score > 0.5" as a last layer, a mask of valid boxes)
# lets every face through whose score is NaN, e.g. after the L2 norm of a black crop, under OpenVINO only. One
# would expect False for every comparison.
#
# Seen: ORT > >= < <= ==: all False; OpenVINO: True True False False False.
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
scores = np.array([[np.nan] * 20 + [0.9, 0.1]], np.float32)


def run(operator: str) -> tuple[np.ndarray, np.ndarray]:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(operator, ["x", "limit"], ["mask"]),
                helper.make_node("Where", ["mask", "yes", "no"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 22])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 22])],
            [numpy_helper.from_array(np.array([v], np.float32), k) for k, v in (("limit", 0.5), ("yes", 1), ("no", 0))],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = CORE.compile_model(CORE.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"x": scores})[0][0], compiled({"x": scores})[0][0]


seen = {}
for operator in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
    ort, vino = run(operator)
    assert np.array_equal(ort[20:], vino[20:]), "numbers compare alike"
    assert len(set(vino[:20])) == 1 and len(set(ort[:20])) == 1
    seen[operator] = (bool(ort[0]), bool(vino[0]))
    print(f"NaN {operator} 0.5: ONNX Runtime {seen[operator][0]}, OpenVINO {seen[operator][1]}")
assert not any(ort for ort, _ in seen.values())
assert [vino for _, vino in seen.values()] == [True, True, False, False, False]
EOF
