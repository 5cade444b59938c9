"""One build's detection of one camera, in a process of its own: frames through shared memory, faces as JSON.

Uses only what the build before the search of regions has too, so that ``--before`` may name an old checkout.
"""

from __future__ import annotations

import json
import sys
from multiprocessing.resource_tracker import unregister
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from time import monotonic, process_time

import numpy as np

from facegate import cpu
from facegate.pipeline.config import CameraConfig, DetectorConfig, GateConfig, RunConfig
from facegate.pipeline.records import Frame, FrameFaces, FrameRef
from facegate.pipeline.runtime.assembly import Pipeline
from facegate.pipeline.watch import ShotQueue


def main() -> None:
    """Answer every line ``{"memory", "shape", "pts_s"}`` with the faces and the processor time spent."""
    if hasattr(cpu, "share_cores"):  # older builds have none
        cpu.share_cores()
    options = json.loads(sys.argv[1])
    pipeline: Pipeline | None = None
    memory: SharedMemory | None = None
    for number, line in enumerate(sys.stdin):
        asked = json.loads(line)
        if asked.get("begin"):
            detector = DetectorConfig(
                kind=options["kind"], path=None if options["path"] is None else Path(options["path"])
            )
            # Processed as a live camera's frames would be; the file is never opened.
            camera = CameraConfig(name="scene", source="scene.mp4", max_fps=5, **options["camera"])
            # What the gate would call too small is detected, too: recall is the detector's.
            config = RunConfig(cameras=(camera,), detector=detector, gate=GateConfig(min_face_px=0))
            pipeline = Pipeline(
                config,
                ShotQueue,
                "run",
                on_decision=lambda decision: None,
                on_scored=lambda frame: None,
                record=None,
            )
            print(json.dumps({"ready": True}), flush=True)
            continue
        assert pipeline is not None
        if memory is None or memory.name != asked["memory"]:
            memory = SharedMemory(asked["memory"])
            unregister(f"/{memory.name}", "shared_memory")  # the benchmark's process owns it
        image = np.ndarray(asked["shape"], np.uint8, memory.buf).copy()
        ref = FrameRef("scene", number, asked["pts_s"], monotonic(), None, image.shape[1], image.shape[0])
        start = process_time()
        found = [
            item for item in pipeline.detect._process([Frame(ref=ref, image=image)]) if isinstance(item, FrameFaces)
        ]
        spent = process_time() - start
        faces = [(*face.detection.box, face.detection.confidence) for item in found for face in item.faces]
        print(json.dumps({"ms": 1000 * spent, "faces": faces, "processed": bool(found)}), flush=True)


if __name__ == "__main__":
    main()
