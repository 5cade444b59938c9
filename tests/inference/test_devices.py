"""Networks on a device: the same results, and the CPU once it fails. The device is the CPU behind a switch."""

from __future__ import annotations

import json
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from structlog.testing import capture_logs

import facegate.inference.devices
import facegate.inference.session
import facegate.scoring.engine
from facegate.detectors.base import Detector, load_detector
from facegate.errors import ConfigError, ModelError
from facegate.inference.devices import network_device
from facegate.inference.onnx_format import with_any_size
from facegate.inference.session import Fallback, session
from facegate.pipeline.config import CameraConfig, DetectorConfig, GateConfig, RunConfig, ScorerConfig
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Box, Shot
from facegate.pipeline.runner import Runner
from facegate.pipeline.sources import base
from facegate.pipeline.watch import ShotQueue
from facegate.recognition.embedders import load_embedder
from facegate.scoring.engine import Scorer, load_scorer

from ..detectors.test_detectors import PHOTO
from ..helpers import facegate as command


class FakeGpu:
    """A CUDA device that is the CPU; it is lost after a number of calls, or cannot load graphs."""

    def __init__(self) -> None:
        self.calls = 0
        self.lost_after: int | None = None
        self.loads = True

    def load(self, graph: bytes | Path, threads: int, device: str) -> Callable[..., list[Any]]:
        if not self.loads:
            raise RuntimeError("out of memory: 64 MiB requested")
        on_cpu = session(graph, threads)

        def run(names: Any, inputs: Any) -> list[Any]:
            self.calls += 1
            if self.lost_after is not None and self.calls > self.lost_after:
                raise RuntimeError("device lost")
            return on_cpu.run(names, inputs)

        return run


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu()
    monkeypatch.setattr(facegate.inference.session, "_on_cuda", fake.load)
    monkeypatch.setattr(facegate.inference.devices, "onnxruntime_cuda_found", lambda: True)
    monkeypatch.setattr(facegate.scoring.engine, "torch_cuda_found", lambda: False)
    return fake


def warnings(lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in lines if line["event"] == "device failed, continuing on the CPU"]


def iou(a: Box, b: Box) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


@pytest.mark.parametrize(("width", "height"), [(1280, 886), (333, 251), (40, 100)])
def test_yunet_in_a_session_finds_what_opencv_finds(
    yunet: Detector, data: Path, gpu: FakeGpu, width: int, height: int
) -> None:
    picture = np.ascontiguousarray(read_image(PHOTO)[:height, :width])
    ours = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx", max_side=None, device="cuda")
    theirs = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx", max_side=None, device="cpu")
    (found,), (expected,) = ours.detect([picture]), theirs.detect([picture])
    assert gpu.calls == 2 and len(found) == len(expected), "the self-test and the picture"
    for a, b in zip(found, expected, strict=True):
        assert iou(a.box, b.box) > 0.98
        assert abs(a.confidence - b.confidence) < 0.01
        assert np.abs(a.landmarks - b.landmarks).max() < 0.02 * (b.box[2] - b.box[0])


def test_mtcnn_on_a_device_gives_the_same_and_goes_on_on_the_cpu_when_it_is_lost(
    mtcnn: Detector, gpu: FakeGpu
) -> None:
    picture = read_image(PHOTO)
    on_device = load_detector("mtcnn", device="cuda")
    (expected,) = mtcnn.detect([picture])
    with capture_logs() as said:
        (before,) = on_device.detect([picture])
        used, gpu.lost_after = gpu.calls, gpu.calls
        (after,) = on_device.detect([picture])
        on_device.detect([picture])
    assert used > 0
    for found in (before, after):
        assert [face.box for face in found] == [face.box for face in expected]
    # Each of the three networks says so once.
    assert len(warnings(said)) == 3 and {line["reason"] for line in warnings(said)} == {"device lost"}


def test_a_device_that_cannot_load_a_network_is_replaced_by_the_cpu(mtcnn: Detector, gpu: FakeGpu) -> None:
    gpu.loads = False
    with capture_logs() as said:
        detector = load_detector("mtcnn", device="cuda")
    assert len(warnings(said)) == 3 and "out of memory" in warnings(said)[0]["reason"]
    assert len(detector.detect([read_image(PHOTO)])[0]) == 6


def test_scorer_and_recognizer_on_a_device_give_the_same_and_survive_its_loss(
    scorer: Scorer, data: Path, gpu: FakeGpu
) -> None:
    crops = np.random.default_rng(3).integers(0, 255, (5, 112, 112, 3), np.uint8)
    on_device, embedder = load_scorer(device="cuda"), load_embedder("builtin", device="cuda")
    assert on_device.device == "cuda" and on_device.backend.name == "onnxruntime"
    recognizer = load_embedder(str(data / "models" / "mobilefacenet-y1.onnx"), device="cuda")
    reference = load_embedder(str(data / "models" / "mobilefacenet-y1.onnx"), device="cpu")
    expected = load_scorer(device="cpu", backend="onnxruntime", dtype="fp32").score(crops)
    for _ in range(2):
        assert_array_equal(on_device.score(crops).quality, expected.quality)
        assert_array_equal(recognizer.embed(list(crops)), reference.embed(list(crops)))
        assert (embedder.embed(list(crops)) * load_embedder("builtin", device="cpu").embed(list(crops))).sum(
            1
        ).min() > 0.998
        gpu.lost_after = gpu.calls


def test_input_at_fault_is_no_fault_of_the_device(gpu: FakeGpu, data: Path) -> None:
    loaded = session(data / "models" / "mobilefacenet-y1.onnx", 1, "cuda")
    name = loaded.get_inputs()[0].name
    with capture_logs() as said:
        with pytest.raises(Exception, match=r"(?i)invalid|shape|dimension"):
            loaded.run(None, {name: np.zeros((1, 3, 5, 5), np.float32)})
        before = gpu.calls
        loaded.run(None, {name: np.zeros((1, 3, 112, 112), np.float32)})
    assert gpu.calls == before + 1 and not warnings(said)


def test_a_fallback_that_fails_too_raises_what_the_cpu_raises() -> None:
    def fails(what: str) -> None:
        raise RuntimeError(what)

    run = Fallback("cuda", "network", lambda: fails("device"), lambda: lambda: fails("cpu"))
    with pytest.raises(RuntimeError, match="cpu"):
        run()
    assert not run.failed


def test_a_run_whose_device_is_lost_decides_like_one_on_the_cpu(short_clip: Path, gpu: FakeGpu, data: Path) -> None:
    def run(device: Any, lost_after: int | None) -> list[Shot]:
        gpu.calls, gpu.lost_after = 0, lost_after
        config = RunConfig(
            cameras=(CameraConfig(name="door", source=str(short_clip)),),
            device=device,
            detector=DetectorConfig(kind="mtcnn"),
            scorer=ScorerConfig(dtype="fp32", backend="onnxruntime"),
            gate=GateConfig(min_quality=0),
        )
        shots = ShotQueue()
        with Runner(config, lambda: shots, run_id="fixed", on_finished=shots.end) as runner:
            sent = list(shots)
            runner.close()
        assert device == "cpu" or gpu.calls > 0
        return sent

    expected = run("cpu", None)
    for lost_after in (None, 3, 40):
        found = run("cuda", lost_after)
        assert [shot.shot_id for shot in found] == [shot.shot_id for shot in expected]
        assert [shot.quality for shot in found] == [shot.quality for shot in expected]


def test_a_device_that_is_not_here_is_refused_in_a_line(short_clip: Path) -> None:
    for device, words in (("cuda", "device 'cuda' is not available"), ("openvino:GPU", "OpenVINO finds")):
        found = command("run", short_clip, "--device", device)
        assert found.returncode == 2 and words in found.stderr, found.stderr
        assert found.stderr.count("\n") == 1
    with pytest.raises(ConfigError, match="choose one of auto, cpu, cuda"):
        network_device("tpu")  # type: ignore[arg-type]


def test_devices_lists_what_is_here_and_what_each_stage_uses() -> None:
    table, listed = command("devices"), command("devices", "--json")
    assert table.returncode == listed.returncode == 0, table.stderr + listed.stderr
    found = json.loads(listed.stdout)
    assert found["devices"][0]["name"] == "cpu"
    assert [stage["stage"] for stage in found["stages"]] == ["decode", "detect", "score", "recognize"]
    for stage in found["stages"]:
        assert stage["why"] and stage["device"] in table.stdout


def test_a_camera_whose_hardware_decoder_gives_no_picture_goes_on_on_the_cpu(
    short_clip: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    """The accelerator refuses the stream, as one does whose profile it does not know."""

    class Refusing:
        def __init__(self, **_: object) -> None:
            pass

        def create(self, codec: object) -> None:
            raise RuntimeError("profile not supported")

    monkeypatch.setattr(base, "hardware_decoder", lambda: "cuda")
    monkeypatch.setattr(base, "HWAccel", Refusing)
    monkeypatch.setattr("facegate.pipeline.sources.file.av.open", _refusing_open)
    config = RunConfig(
        cameras=(CameraConfig(name="door", source=str(short_clip)),), scorer=ScorerConfig(weights=tiny_model)
    )
    shots = ShotQueue()
    with capture_logs() as said, Runner(config, lambda: shots, on_finished=shots.end) as runner:
        list(shots)
        report = runner.close()
    assert report.frames_received == 50
    (line,) = [line for line in said if line["event"] == "hardware decoder failed, decoding on the CPU"]
    assert line["camera"] == "door" and line["kind"] == "cuda"


def _refusing_open(path: str, hwaccel: object = None, **options: Any) -> Any:
    import av.container

    if hwaccel is not None:
        raise RuntimeError("profile not supported")
    return av.container.open(path, **options)


def test_freeing_the_size_of_a_graph_keeps_everything_else(data: Path) -> None:
    before = onnx.load(data / "models" / "yunet_n_640_640.onnx")
    after = onnx.load_from_string(with_any_size((data / "models" / "yunet_n_640_640.onnx").read_bytes()))
    assert list(after.graph.node) == list(before.graph.node)
    assert list(after.graph.initializer) == list(before.graph.initializer)
    assert [each.name for each in after.graph.output] == [each.name for each in before.graph.output]
    dims = after.graph.input[0].type.tensor_type.shape.dim
    assert [each.dim_value for each in dims] == [0, 3, 0, 0]


@pytest.mark.parametrize("content", [b"", b"\x3a\x05abc", b"not a model", b"\x3a\x02\x5a\x00"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes, gpu: FakeGpu) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"yunet\.onnx"):
        load_detector("yunet", path, device="cuda")
