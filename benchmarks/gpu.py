"""From the stream to the shot on a device: decoding, each stage, whole cameras, agreement with the CPU.

    python -m benchmarks.gpu multi_face.avi --recognizer mobilefacenet-y1.onnx                    # on CUDA
    python -m benchmarks.gpu multi_face.avi --recognizer mobilefacenet-y1.onnx --device cpu --quick

One script for a machine that is lent for minutes: it ends within ten, and prints one JSON document with the device,
driver and versions. What this build does not have is listed as such. Frames of hardware decoders are copied to the
host, where regions are found and crops are cut: that is the share of the processor that it states per camera.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from threading import Event, Timer
from time import perf_counter, process_time

import av
import cv2
import numpy as np

from benchmarks.gate_cost.detection import sampled_frames
from benchmarks.host_info import cpu
from benchmarks.ingest import scaled
from facegate.cpu import cores, limit_threads
from facegate.detectors.align import align
from facegate.detectors.base import load_detector
from facegate.inference.devices import DEVICES, Device, network_device
from facegate.pipeline.config import CameraConfig, DetectorConfig, RunConfig
from facegate.pipeline.records import Detection, Floats, Image
from facegate.pipeline.runner import Runner
from facegate.pipeline.sources.base import hardware_decoder
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.watch import ShotQueue
from facegate.recognition.embedders import load_embedder, unit
from facegate.scoring.engine import load_scorer

MISSING = (
    "frames stay in GPU memory from decoding to cropping",
    "regions, shrinking and alignment on the GPU",
    "OpenCV's own YuNet on the GPU (the same file runs in ONNX Runtime)",
    "dlib on the GPU",
)
LOOKS_PER_S = 5.0
BATCH = 32


def rate(job: Callable[[], object], seconds: float) -> float:
    """Calls of a job per second, after two to warm up."""
    for _ in range(2):
        job()
    began, count = perf_counter(), 0
    while perf_counter() - began < seconds:
        job()
        count += 1
    return count / (perf_counter() - began)


def memory_mib() -> float | None:
    """Memory in use on the first NVIDIA GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0])


def decoding(clip: Path, streams: int, decoder: str) -> dict[str, object]:
    """Decode one clip in several threads at once: frames a second, processor a stream, memory a stream."""
    camera = CameraConfig(name="clip", source=str(clip), decoder=decoder)
    before, cpu_s, began = memory_mib(), process_time(), perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        counts = list(pool.map(lambda _: sum(1 for _ in open_source(camera).frames(Event())), range(streams)))
    wall_s, after = perf_counter() - began, memory_mib()
    return {
        "streams": streams,
        "frames_per_s": round(sum(counts) / wall_s, 1),
        "streams_of_25_fps": round(sum(counts) / wall_s / 25, 1),
        "processor_ms_per_frame": round(1000 * (process_time() - cpu_s) / sum(counts), 2),
        "memory_mib_per_stream": None if before is None or after is None else round((after - before) / streams, 1),
    }


def agreement(ours: list[list[Detection]], theirs: list[list[Detection]]) -> dict[str, float]:
    """Faces of both, and the least overlap of a pair."""
    least, pairs = 1.0, 0
    for found, expected in zip(ours, theirs, strict=True):
        for face in expected:
            overlaps = [overlap(face, other) for other in found]
            if overlaps and max(overlaps) > 0.5:
                least, pairs = min(least, max(overlaps)), pairs + 1
    return {
        "faces": sum(map(len, ours)),
        "faces_on_cpu": sum(map(len, theirs)),
        "pairs": pairs,
        "least_iou": round(least, 4),
    }


def overlap(a: Detection, b: Detection) -> float:
    """Intersection over union."""
    width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((each.box[2] - each.box[0]) * (each.box[3] - each.box[1]) for each in (a, b))
    return width * height / (areas - width * height)


def stages(
    frames: list[Image], yunet: Path | None, recognizer: str | None, device: Device, seconds: float
) -> dict[str, object]:
    """Rate of each stage on the device and on the CPU, and how far their results are apart."""
    found: dict[str, object] = {}
    crops: list[Image] = []
    places: tuple[Device, ...] = tuple(dict.fromkeys((device, "cpu")))
    for kind, path in (("mtcnn", None), *([("yunet", yunet)] if yunet else [])):
        models = {place: load_detector(kind, path, max_side=None, min_face_px=24, device=place) for place in places}
        seen = {place: [model.detect([frame])[0] for frame in frames] for place, model in models.items()}
        found[kind] = {
            "frames_per_s": {
                place: round(rate(partial(model.detect, frames[:1]), seconds), 1) for place, model in models.items()
            },
            **agreement(seen[device], seen["cpu"]),
        }
        crops = crops or [
            align(frame, face.landmarks) for frame, faces in zip(frames, seen["cpu"], strict=True) for face in faces
        ]
    batch = np.stack((crops * BATCH)[:BATCH])
    scorers = {place: load_scorer(device=place) for place in places}
    scores = {place: scorer.score(batch) for place, scorer in scorers.items()}
    rows = {place: unit(each.embedding) for place, each in scores.items() if each.embedding is not None}
    found["score"] = {
        "backend": {place: f"{each.backend.name} {each.backend.dtype}" for place, each in scorers.items()},
        "crops_per_s": {
            place: round(BATCH * rate(partial(scorer.score, batch), seconds), 1)
            for place, scorer in scorers.items()
        },
        "greatest_quality_difference": int(np.abs(scores[device].quality - scores["cpu"].quality).max()),
        "least_cosine": least_cosine(rows, device),
    }
    if recognizer is not None:
        embedders = {place: load_embedder(recognizer, device=place) for place in places}
        rows = {place: each.embed(list(batch)) for place, each in embedders.items()}
        found["recognize"] = {
            "crops_per_s": {
                place: round(BATCH * rate(partial(each.embed, list(batch)), seconds), 1)
                for place, each in embedders.items()
            },
            "least_cosine": least_cosine(rows, device),
        }
    return found


def least_cosine(rows: dict[Device, Floats], device: Device) -> float:
    """Least cosine of the same crop on the device and on the CPU."""
    return round(float((rows[device] * rows["cpu"]).sum(1).min()), 6)


def cameras(clip: Path, device: Device, count: int, seconds: float, yunet: Path | None) -> dict[str, object]:
    """Whole gate over live playback of the clip by ``count`` cameras."""
    detector = DetectorConfig() if yunet is None else DetectorConfig(kind="yunet", path=yunet)
    config = RunConfig(
        device=device,
        detector=detector,
        cameras=tuple(
            CameraConfig(name=f"camera{i}", source=str(clip), realtime=True, max_fps=LOOKS_PER_S)
            for i in range(count)
        ),
    )
    shots = ShotQueue()
    before, cpu_s, began = memory_mib(), process_time(), perf_counter()
    with Runner(config, lambda: shots, on_finished=shots.end) as runner:
        clock = Timer(seconds, runner.stop)
        clock.start()
        for _ in shots:
            pass
        clock.cancel()
        after = memory_mib()
        report = runner.close(linger_s=0)
    wall_s = perf_counter() - began
    return {
        "cameras": count,
        "looks_per_s_of_each": round(report.frames_processed / wall_s / count, 2),
        "wanted": LOOKS_PER_S,
        "core_per_camera": round((process_time() - cpu_s) / wall_s / count, 4),
        "memory_mib_per_camera": None if before is None or after is None else round((after - before) / count, 1),
        "faces": report.observed,
    }


def versions(device: Device) -> dict[str, object]:
    """What a figure depends on."""
    found: dict[str, object] = {
        "processor": cpu(),
        "cores": cores(),
        "device": device,
        "decoder": hardware_decoder() or "cpu",
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "opencv": cv2.__version__,
    }
    for package in ("onnxruntime", "onnxruntime-gpu", "openvino", "torch"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path, help="clip with several faces; it is scaled to 1080p")
    parser.add_argument("--device", choices=DEVICES, default="cuda", help="default: cuda")
    parser.add_argument("--yunet", type=Path, help="ONNX file of YuNet")
    parser.add_argument("--recognizer", help="recognizer to measure, as for --embedder")
    parser.add_argument("--quick", action="store_true", help="a few seconds a figure, on any machine")
    given = parser.parse_args()
    device = network_device(given.device)
    seconds, streams, counts = (0.5, (1, 2), (1,)) if given.quick else (5.0, (1, 4, 8, 16, 32), (8, 16, 32, 64))
    limit_threads(cores())
    found: dict[str, object] = {"host": versions(device), "missing": MISSING}
    with tempfile.TemporaryDirectory() as folder:
        clip = scaled(given.clip, Path(folder) / "1080p.mp4", 1920, 1080, most=50 if given.quick else 250)
        frames = [image for _, image in sampled_frames(clip, 5.0)][: 3 if given.quick else 12]
        kinds = dict.fromkeys(("cpu", hardware_decoder() or "cpu"))
        found["decode"] = {kind: [decoding(clip, count, kind) for count in streams] for kind in kinds}
        found["stages"] = stages(frames, given.yunet, given.recognizer, device, seconds)
        found["cameras"] = [cameras(clip, device, count, 4 if given.quick else 20, given.yunet) for count in counts]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
