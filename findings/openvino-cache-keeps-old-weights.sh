#!/usr/bin/env bash
# Packages: openvino==2026.4.1, onnx==1.23.2, numpy==2.4.6
#
# Behavior: with CACHE_DIR set, OpenVINO finds a compiled model by the .xml file of an IR alone. When only the
# weights change (new .bin, same .xml), the next process loads the old compiled model and computes with the old
# weights, even though the .bin has another modification time. A model in ONNX format whose weights lie in an
# external data file is not affected: there the new weights are used.
#
# Why it matters: a retrained or fine-tuned quality or recognition model has the same graph as its predecessor, so
# an update replaces just the .bin. A gate with a model cache goes on scoring with the model that was withdrawn,
# and nothing says so. Expected before the run: the cache key covers the weights.
#
# Seen: first 1.0, cached 1.0, new .bin: still 1.0 (from the cache), without the cache 2.0; ONNX: 1.0, then 2.0.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cd "$T"
"$T/venv/bin/python" - <<'EOF'
import os
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper, numpy_helper


def graph(factor: float) -> onnx.ModelProto:
    weights = (factor * np.eye(64)).astype(np.float32)
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
            [numpy_helper.from_array(weights, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    return made


def write_ir(factor: float) -> bytes:
    model = ov.Core().read_model(graph(factor).SerializeToString())
    ov.save_model(model, "model.xml", compress_to_fp16=False)
    return Path("model.xml").read_bytes()


def write_onnx(factor: float) -> bytes:
    for name in ("model.onnx", "model.data"):
        Path(name).unlink(missing_ok=True)
    onnx.save(graph(factor), "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    return Path("model.onnx").read_bytes()


def infer(path: str, cache: bool = True) -> tuple[float, bool]:
    core = ov.Core()
    if cache:
        core.set_property({"CACHE_DIR": "cache"})
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    value = float(compiled(np.ones((1, 64), np.float32))[0][0, 0])
    return value, bool(cache and compiled.get_property("LOADED_FROM_CACHE"))


first_xml = write_ir(1.0)
first, cached = infer("model.xml"), infer("model.xml")
old = os.stat("model.bin")
second_xml = write_ir(2.0)
os.utime("model.bin", (old.st_atime + 60, old.st_mtime + 60))
assert first_xml == second_xml, "only the weights differ"
replaced, uncached = infer("model.xml"), infer("model.xml", cache=False)
print("IR:   first", first, "again", cached, "weights replaced", replaced, "no cache", uncached)
assert first == (1.0, False) and cached == (1.0, True)
assert replaced == (1.0, True), "the stale compiled model is used"
assert uncached[0] == 2.0

first_onnx = write_onnx(1.0)
before, again = infer("model.onnx"), infer("model.onnx")
assert write_onnx(2.0) == first_onnx, "only the external data differ"
after = infer("model.onnx")
print("ONNX: first", before, "again", again, "weights replaced", after)
assert before == (1.0, False) and again == (1.0, True) and after == (2.0, False)
EOF
