"""Cost of the gate: against recognizing every face, and with many cameras on one machine.

    python -m benchmarks.gate_cost --yunet yunet_n_640_640.onnx --recognizer mobilefacenet-y1.onnx multi_face.avi
    python -m benchmarks.gate_cost ... --uhd                     # the clip as a 4K camera would send it in H.265
    python -m benchmarks.gate_cost ... --load                    # cameras over RTSP too, about five minutes

A clip is played at five frames per second through the whole gate as a file, and through the baseline: YuNet on
every frame and an embedding of every face, in ONNX Runtime. Both in this process, in turn, processor time of all
threads with one thread for each library, medians of the rounds; decoding, which both need, is measured alone and
taken off. ``--one-core`` keeps the process on one core: where two virtual ones share a real one, the gate's stages
slow each other, which does not affect the baseline, a single thread. ``--load`` adds live cameras on loopback: many
small ones, an empty scene, one of 1080p and one of 4K.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Event
from time import process_time

import numpy as np
import onnxruntime

from benchmarks.gate_cost.detection import sampled_frames
from benchmarks.host_info import cpu
from benchmarks.ingest import SAMPLE_FPS, scaled, server, watch
from facegate.cpu import limit_threads, share_cores, threads
from facegate.demo.clip import make_clip
from facegate.detectors.align import align
from facegate.detectors.base import load_detector
from facegate.evaluation.savings import NeverSure
from facegate.pipeline.config import CameraConfig, DeliveryConfig, RunConfig
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.records import Image
from facegate.pipeline.runner import Runner
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.watch import ShotQueue
from facegate.recognition.embedders import OnnxEmbedder, load_embedder
from facegate.scoring.engine import load_scorer


def gate(clip: Path, config: RunConfig, *, unsure: bool) -> RunReport:
    """One run over the clip as a file."""
    queue = NeverSure() if unsure else ShotQueue()
    camera = CameraConfig(name="clip", source=str(clip), max_fps=SAMPLE_FPS)
    with Runner(
        config.model_copy(update={"cameras": (camera,), "delivery": DeliveryConfig()}),
        lambda: queue,
        on_finished=queue.end,
    ) as runner:
        for _ in queue:
            pass
        return runner.close(linger_s=0)


def decoding(clip: Path) -> float:
    """Processor time of decoding the sampled frames of a clip and nothing else."""
    source = open_source(CameraConfig(name="clip", source=str(clip), max_fps=SAMPLE_FPS))
    start = process_time()
    for _ in source.frames(Event()):
        pass
    return process_time() - start


def plain_embedding(recognizer: str) -> Callable[[Image], object]:
    """An embedding as most scripts make it: one crop at a time in ONNX Runtime."""
    embedder = load_embedder(recognizer)
    if not isinstance(embedder, OnnxEmbedder):
        return lambda crop: embedder.embed([crop])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(recognizer, options)
    name = session.get_inputs()[0].name
    return lambda crop: session.run(None, {name: embedder.prepare(crop)[None]})


def compare(
    clip: Path, yunet: Path, recognizer: str, config: RunConfig, rounds: int, *, unsure: bool
) -> dict[str, object]:
    """The gate and the plain way, in turn."""
    detector, embed = load_detector("yunet", yunet), plain_embedding(recognizer)
    frames = [image for _, image in sampled_frames(clip, SAMPLE_FPS)]
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    report = gate(clip, config, unsure=unsure)  # graphs are made and prepared
    for _ in range(rounds):
        report = gate(clip, config, unsure=unsure)
        cost, scoring = report.cost, report.scoring
        beside = cost.total_s - decoding(clip)
        seen = max(report.observed, 1)
        ours.append(
            {
                "look_ms": 1000 * beside / cost.frames,
                "score_ms_per_face": 1000 * cost.score_s / seen,
                "score_ms_per_scored": 1000 * cost.score_s / max(scoring.batches * scoring.batch_mean, 1),
            }
        )
        start, spent_detect, spent_embed, faces = process_time(), 0.0, 0.0, 0
        for image in frames:
            begun = process_time()
            found = detector.detect([image])[0]
            spent_detect += process_time() - begun
            begun = process_time()
            for face in found:
                embed(align(image, face.landmarks))
            spent_embed += process_time() - begun
            faces += len(found)
        theirs.append(
            {
                "look_ms": 1000 * (process_time() - start) / len(frames),
                "detect_ms": 1000 * spent_detect / len(frames),
                "embed_ms": 1000 * spent_embed / max(faces, 1),
            }
        )
    mine, plain = ({key: median(row[key] for row in rows) for key in rows[0]} for rows in (ours, theirs))
    scored = report.scoring.batches * report.scoring.batch_mean
    return {
        "clip": clip.name,
        "frames": report.cost.frames,
        "faces": report.observed,
        "share_scored": round(scored / max(report.observed, 1), 3),
        "gate": {key: round(value, 2) for key, value in mine.items()},
        "plain": {key: round(value, 2) for key, value in plain.items()},
        "score_per_face_over_embedding": round(mine["score_ms_per_face"] / plain["embed_ms"], 3),
        "gate_over_plain": round(mine["look_ms"] / plain["look_ms"], 3),
        "parts_s": report.cost.parts(),
    }


def load(clip: Path, folder: Path, seconds: float) -> dict[str, object]:
    """Live cameras on loopback."""
    found: dict[str, object] = {}
    small = scaled(clip, folder / "360.mp4", 640, 360)
    with server(small) as url:
        found["16 cameras of 640x360"] = watch(url, 16, 10.0, seconds, SAMPLE_FPS)
    empty = folder / "empty.mp4"
    still(empty)
    with server(empty) as url:
        found["32 cameras, empty scene"] = watch(url, 32, 15.0, seconds, SAMPLE_FPS)
    for name, width, height in (("1080p", 1920, 1080), ("4K", 3840, 2160)):
        with server(scaled(clip, folder / f"{name}.mp4", width, height)) as url:
            found[f"one {name} camera"] = watch(url, 1, 10.0, seconds, SAMPLE_FPS)
    return found


def still(target: Path, seconds: int = 20) -> None:
    """An empty corridor: a fixed picture with detail in it, and a camera's noise; a key frame a second."""
    import av

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:360, 0:640]
    detail = rng.normal(0, 12, (90, 160)).repeat(4, 0).repeat(4, 1)
    base = 90 + 40 * np.sin(x / 60) + 30 * np.cos(y / 45) + detail
    # Noise alone is no scene cut: no camera sends key frames for it.
    coded = {"preset": "veryfast", "crf": "23", "g": "25", "sc_threshold": "0"}
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=coded)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.codec_context.max_b_frames = 0
        for _ in range(25 * seconds):
            noisy = np.clip(base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(np.repeat(noisy[:, :, None], 3, 2), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="The demo's clip is always measured.")
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--recognizer", required=True)
    parser.add_argument("--weights", type=Path, help="Of the scorer; the built-in model by default.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-core", action="store_true", help="Keep to one core (not with --load).")
    parser.add_argument(
        "--uhd", action="store_true", help="The first clip in 4K and H.265, six seconds of it, too."
    )
    parser.add_argument("--unsure", action="store_true", help="Beside a worker that answers, and is never sure.")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    if args.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    share_cores()
    limit_threads(1)
    config = RunConfig.model_validate({"cameras": [{"name": "x", "source": "x.mp4"}]})
    config = config.model_copy(update={"scorer": config.scorer.model_copy(update={"weights": args.weights})})
    scorer = load_scorer(args.weights)
    print(cpu(), f"{scorer.card.name} in {scorer.backend.name} {scorer.backend.dtype}", sep="; ")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = make_clip(folder).path
        clips = [demo, *args.clips]
        if args.uhd:
            clips = [scaled(clips[-1], folder / "4k-h265.mp4", 3840, 2160, codec="libx265", most=150)]
        for clip in clips:
            print(
                json.dumps(compare(clip, args.yunet, args.recognizer, config, args.rounds, unsure=args.unsure)),
                flush=True,
            )
        if args.load:
            for what, figures in load(args.clips[0] if args.clips else demo, folder, args.seconds).items():
                print(what, json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
