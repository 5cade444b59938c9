"""What the gate saves and costs on the development clips, and how good the shots are that it chooses.

    python -m benchmarks.clips --judge y1.onnx --judge casia.onnx --json clips.json
    python -m benchmarks.clips --judge y1.onnx --alter dark

Galleries come from other footage: photographs for the named people, default.wmv for the man of changeLighting.wmv,
the first clip of each signer, the first third of multi_face.avi for its own people, of whom only the rest is
played; 1,000 people of LFW distract. Visits are those of tests/visits.yaml. Two clips show strangers only.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.fusion import Track, learned
from benchmarks.host_info import cpu
from facegate.cli.output.tables import show_savings
from facegate.cpu import share_cores
from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector
from facegate.detectors.pose import pose
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.research.baselines import LightQNetQuality
from facegate.evaluation.savings import LabeledVisit, NeverSure, Observer, Savings, compare, load_labels
from facegate.pipeline.config import DetectorConfig, GateConfig, RunConfig, ScorerConfig, config_for
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Image, ScoredFace, ScoredFrame, SkippedFace, contiguous
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.enrollment.checks import MIN_QUALITY
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR, DecisionRule, choose_rule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.score_tail import find_impostor_model
from facegate.scoring.calibration import Calibration
from facegate.scoring.engine import load_scorer
from facegate.scoring.families import ModelCard

ROOT = Path(__file__).parent.parent
DISTRACTORS = 1000
LIKENESS = 60.0
"""Points of quality that the cosine to a track's mean embedding is worth, in a choice that was left out."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the embedding's length beside ViTNT-FIQA, in logarithms; the gate's is 0.5."""
FROM_CLIPS = {
    "P4": "default.wmv",
    "S1": "asl_again.mkv",
    "S2": "asl_bird.mkv",
    "S3": "asl_book.mkv",
    "S4": "asl_eat.mkv",
    "S5": "asl_hungry.mkv",
}
STRANGERS = ("1192_01_006_julia_roberts.avi", "1034_03_006_jet_li.avi")
MULTI = "multi_face.avi"
MULTI_THIRD_S, MULTI_SIZE = 7.8, (640, 480)
CANVASES = {"1080p": (1920, 1080), "4K": (3840, 2160)}
ROOM = np.random.default_rng(3).integers(60, 150, (9, 16, 3)).astype(np.uint8)
ALTERATIONS: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "dark": lambda image: np.clip(
        image * 0.2 + np.random.default_rng(int(image[0, 0, 0])).normal(0, 4, image.shape), 0, 255
    ).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 2.0).astype(np.uint8),
    "small": lambda image: cv2.resize(
        cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), image.shape[1::-1]
    ).astype(np.uint8),
}


def frames(path: Path, every: int = 1) -> Iterator[tuple[float, Image]]:
    """Seconds and RGB picture of every n-th frame."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                yield float(frame.time or 0.0), contiguous(frame.to_ndarray(format="rgb24"))


def largest(image: Image, detector: Detector) -> Image | None:
    """Aligned crop of the largest face."""
    found = detector.detect([image])[0]
    return align(image, max(found, key=lambda face: face.width).landmarks) if found else None


def galleries(data: Path, detector: Detector, visits: tuple[LabeledVisit, ...]) -> dict[str, list[Image]]:
    """Crops per person: the enrolled and the distractors, those of a quality that enrollment takes."""
    scorer = load_scorer()
    people: dict[str, list[Image]] = {}
    for folder in sorted((data / "photos").iterdir()):
        crops = [largest(read_image(file), detector) for file in sorted(folder.iterdir())]
        people[folder.name] = [crop for crop in crops if crop is not None]
    for person, clip in FROM_CLIPS.items():
        found = [largest(image, detector) for _, image in frames(data / "clips" / clip, 10)]
        people[person] = [crop for crop in found if crop is not None]
    for pts_s, image in frames(data / "clips" / MULTI, 10):
        if pts_s > MULTI_THIRD_S:
            break
        for face in detector.detect([image])[0]:
            for visit in visits:
                if visit.person and visit.holds(MULTI, pts_s, face.box):
                    people.setdefault(visit.person, []).append(align(image, face.landmarks))
    seen: set[str] = set(people)
    with zipfile.ZipFile(data / "faces" / "lfw-folds-1-4.zip") as archive:
        for name in sorted(archive.namelist()):
            person = Path(name).stem.rsplit("_", 1)[0]
            if person in seen or not name.endswith(".jpg"):
                continue
            if sum(key.startswith("lfw:") for key in people) >= DISTRACTORS:
                break
            decoded = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            assert decoded is not None, name
            crop = largest(np.ascontiguousarray(decoded[:, :, ::-1]).astype(np.uint8), detector)
            if crop is not None and scorer.score(crop[None]).quality[0] >= MIN_QUALITY:
                seen.add(person)
                people[f"lfw:{person}"] = [crop]
    return people


def enrolled(people: dict[str, list[Image]], embedder: Embedder) -> Gallery:
    """Mean templates."""
    templates = []
    for crops in people.values():
        mean = embedder.embed(crops).mean(0)
        templates.append(mean / np.linalg.norm(mean))
    return Gallery(list(people), np.stack(templates))


def on_canvas(image: Image, canvas: str | None) -> Image:
    """The frame inside a larger picture of a plain room, as a far camera would see it."""
    if canvas is None:
        return image
    width, height = CANVASES[canvas]
    large = cv2.resize(ROOM, (width, height), interpolation=cv2.INTER_CUBIC)
    left, top = corner(image.shape[1], image.shape[0], canvas)
    large[top : top + image.shape[0], left : left + image.shape[1]] = image
    return contiguous(large)


def corner(width: int, height: int, canvas: str) -> tuple[int, int]:
    """Left and upper edge of a frame inside the larger picture."""
    return (CANVASES[canvas][0] - width) // 3, (CANVASES[canvas][1] - height) // 3


def altered(source: Path, how: str, folder: Path, canvas: str | None = None) -> Path:
    """What is played: the original, or a copy with every frame altered, hardly compressed."""
    start_s = MULTI_THIRD_S if source.name == MULTI else 0.0
    if how == "none" and not start_s and canvas is None:
        return source
    target = folder / source.with_suffix(".mkv").name
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        rate = inside.streams.video[0].average_rate
        stream = outside.add_stream("mjpeg", rate=rate, options={"qscale": "2"})
        stream.pix_fmt = "yuvj420p"
        for frame in inside.decode(video=0):
            if (frame.time or 0.0) <= start_s and start_s:
                continue
            image = on_canvas(ALTERATIONS[how](contiguous(frame.to_ndarray(format="rgb24"))), canvas)
            if not stream.codec_context.is_open:
                stream.width, stream.height = image.shape[1], image.shape[0]
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                outside.mux(packet)
        for packet in stream.encode():
            outside.mux(packet)
    return target


def as_played(visit: LabeledVisit, canvas: str | None = None) -> LabeledVisit:
    """The visit on the clock and in the picture of what is played."""
    if visit.source != MULTI:
        return visit
    if canvas is not None and visit.box is not None:
        left, top = corner(*MULTI_SIZE, canvas)
        x1, y1, x2, y2 = visit.box
        visit = msgspec.structs.replace(visit, box=(x1 + left, y1 + top, x2 + left, y2 + top))
    start_s, end_s = (max(0.0, at - MULTI_THIRD_S) for at in (visit.start_s, visit.end_s))
    return msgspec.structs.replace(visit, start_s=start_s, end_s=end_s)


class Crops:
    """Keeps what ways to choose need: of each face that was scored, and LightQNet's score of every one."""

    def __init__(self, card: ModelCard, lightqnet: LightQNetQuality | None = None) -> None:
        self._lightqnet = lightqnet
        self._scales = [Calibration(card.calibration[number]) for number in ("vitnt", "norm")]
        self.quality: dict[str, float] = {}
        self.ours: dict[str, float] = {}
        self.vitnt: dict[str, float] = {}
        self.norm: dict[str, float] = {}
        self.calibrated: dict[str, int] = {}
        self.logs: dict[str, tuple[float, float]] = {}
        """Of ViTNT-FIQA and of the embedding's length, both calibrated."""
        self.seen: dict[str, tuple[float, float, float, float]] = {}
        """Logarithm of the width, lightness, confidence, cosine of yaw."""
        self.unit: dict[str, NDArray[np.float32]] = {}

    def scored(self, frame: ScoredFrame) -> None:
        seen: list[ScoredFace | SkippedFace] = [*frame.faces, *frame.skipped]
        if seen and self._lightqnet is not None:
            crops = np.stack([face.face.crop for face in seen])
            nothing = np.zeros(len(crops))
            values = self._lightqnet.score(FaceSet([""] * len(crops), crops, nothing, nothing), lambda a, b: None)
            self.quality |= {face.face.face_id: float(value) for face, value in zip(seen, values, strict=True)}
        for scored in frame.faces:
            face_id = scored.face.face_id
            self.ours[face_id] = scored.rank[0]
            self.vitnt[face_id] = scored.raw_score
            assert scored.embedding is not None
            self.norm[face_id] = length = float(np.linalg.norm(scored.embedding))
            self.calibrated[face_id] = scored.quality
            raw = np.array([[scored.raw_score], [length]], np.float32)
            path, norm = (
                float(np.log1p(scale.exact(values)[0])) for scale, values in zip(self._scales, raw, strict=True)
            )
            self.logs[face_id] = (path, norm)
            detection = scored.face.detection
            light, yaw = float(scored.face.crop.mean()), pose(detection)[0]
            self.seen[face_id] = (
                np.log(detection.width),
                light / 255,
                detection.confidence,
                np.cos(np.radians(yaw)),
            )
            self.unit[face_id] = scored.embedding / np.float32(length)


def falling(quality: float) -> float:
    """A weight of the embedding's length: 0.75 up to a quality of 20, none from 60 on."""
    return 0.75 * min(1.0, max(0.0, (60 - quality) / 40))


def percentiles(
    observer: Observer, crops: Crops, light: dict[str, float], visits: tuple[LabeledVisit, ...], gallery: Gallery
) -> tuple[dict[str, list[float]], list[Track]]:
    """Per track of an enrolled person: the chosen face's percentile by mated similarity, for each way to choose."""
    row = {name: index for index, name in enumerate(gallery.names)}
    tracks: dict[tuple[int, str], list[str]] = {}
    for face in observer.faces.values():
        for visit in visits:
            if visit.person and visit.holds(face.source, face.pts_s, face.box):
                tracks.setdefault((face.track_id, visit.person), []).append(face.face_id)
                break
    found: dict[str, list[float]] = {}
    kept = []
    for (_, person), faces in tracks.items():
        if len(faces) < 5:
            continue
        mated = np.array([observer.embeddings[face] @ gallery.templates[row[person]] for face in faces])
        units = np.stack([crops.unit[face] for face in faces if face in crops.unit])
        mean = units.mean(0) / np.linalg.norm(units.mean(0))
        choices = {
            "facegate": [crops.ours.get(face, -np.inf) for face in faces],
            "ViTNT-FIQA alone": [crops.vitnt.get(face, -np.inf) for face in faces],
            "Laplacian variance": [observer.faces[face].sharpness for face in faces],
            "largest face": [observer.faces[face].width for face in faces],
            "LightQNet": [light[face] for face in faces],
            "norm of our embedding": [crops.norm.get(face, -np.inf) for face in faces],
            "quality and likeness": [
                -np.inf if unit is None else crops.calibrated[face] + LIKENESS * float(unit @ mean)
                for face, unit in ((face, crops.unit.get(face)) for face in faces)
            ],
        }
        for weight in WEIGHTS:
            choices[f"norm weighed {weight:g}"] = [
                -np.inf if logs is None else (1 - weight) * logs[0] + weight * logs[1]
                for logs in (crops.logs.get(face) for face in faces)
            ]
        choices["norm weighed as quality falls"] = [
            -np.inf if logs is None else logs[0] + falling(float(np.expm1(logs[0]))) * (logs[1] - logs[0])
            for logs in (crops.logs.get(face) for face in faces)
        ]
        scored = [index for index, face in enumerate(faces) if face in crops.logs]
        features = [
            (*crops.logs[face], np.log1p(observer.faces[face].sharpness), *crops.seen[face])
            for face in (faces[index] for index in scored)
        ]
        track = Track(mated, np.array(scored), np.array(features))
        kept.append(track)
        for name, values in choices.items():
            found.setdefault(name, []).append(track.percentile(int(np.argmax(values))))
    if found:
        weighed = [found[f"norm weighed {weight:g}"] for weight in WEIGHTS]
        found["hindsight's weight of each clip"] = max(weighed, key=np.mean)
    return found, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--judge", action="append", required=True)
    parser.add_argument("--alter", choices=tuple(ALTERATIONS), default="none")
    parser.add_argument("--canvas", choices=tuple(CANVASES), help="Play the frames inside a picture of this size.")
    parser.add_argument("--detector", choices=("yunet", "mtcnn"), default="yunet", help="The gate's.")
    parser.add_argument("--min-quality", type=int, default=GateConfig().min_quality)
    parser.add_argument("--whole", action="store_true", help="Search every frame and score every face.")
    parser.add_argument("--weights", type=Path, help="Of the scorer; the built-in model by default.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    share_cores()
    data = arguments.data
    yunet = data / "models" / "yunet_n_640_640.onnx"
    detector = load_detector("yunet", yunet)
    visits = load_labels(ROOT / "tests" / "visits.yaml")
    people = galleries(data, detector, visits)
    visits = tuple(as_played(visit, arguments.canvas) for visit in visits)
    judges = [load_embedder(name) for name in arguments.judge]
    rules = [rule_of(judge) for judge in judges]
    known = [enrolled(people, judge) for judge in judges]
    card = load_scorer(arguments.weights).card
    lightqnet = LightQNetQuality(data / "models" / "lightqnet-dm100.pb")
    observers: list[list[Observer]] = [[] for _ in judges]
    ranks: list[dict[str, list[float]]] = [{} for _ in judges]
    tracks: list[list[Track]] = [[] for _ in judges]
    with tempfile.TemporaryDirectory() as folder:
        for name in [*dict.fromkeys(visit.source for visit in visits), *STRANGERS]:
            source = altered(data / "clips" / name, arguments.alter, Path(folder), arguments.canvas)
            config = config_for(source)
            camera = config.cameras[0].model_copy(update={"track_between_detections": not arguments.whole})
            config = config.model_copy(
                update={
                    "cameras": (camera,),
                    "scorer": ScorerConfig(weights=arguments.weights, every_face=arguments.whole),
                    "detector": DetectorConfig(kind=arguments.detector, path=yunet),
                    "gate": GateConfig(min_quality=arguments.min_quality),
                }
            )
            own = [Observer(name, j, g, r) for j, g, r in zip(judges, known, rules, strict=True)]
            every, alone = Crops(card, lightqnet), Crops(card)
            run(config, own, every)
            play(config, ShotQueue(), [alone.scored])  # the one shot that is chosen where nobody answers
            for index, observer in enumerate(own):
                observers[index].append(observer)
                found, kept = percentiles(observer, alone, every.quality, visits, known[index])
                tracks[index] += kept
                for key, values in found.items():
                    ranks[index].setdefault(key, []).extend(values)
            print(f"{name}: {len(own[0].faces)} faces, {len(own[0].sent)} forwarded", flush=True)
    print(cpu(), f"frames {arguments.alter}", sep="; ")
    results: list[tuple[Savings, dict[str, list[float]]]] = []
    for index, judge in enumerate(judges):
        ranks[index]["learned from all other tracks"] = learned(tracks[index])
        savings = compare(observers[index], visits, judge.name, rules[index].describe(len(known[index].names)))
        results.append((savings, ranks[index]))
        show_savings(savings)
        show_ranks(ranks[index])
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def run(config: RunConfig, observers: list[Observer], crops: Crops) -> None:
    """Play a clip beside a worker that is never sure, and let each observer decide it as one that answers."""
    runner = play(config, NeverSure(), [crops.scored, *(observer.scored for observer in observers)])
    for observer in observers:
        observer.decide(runner.gates_for_replay())


def play(config: RunConfig, queue: ShotQueue, scored: list[Callable[[ScoredFrame], None]]) -> Runner:
    def tell(frame: ScoredFrame) -> None:
        for told in scored:
            told(frame)

    with Runner(config, lambda: queue, on_scored=tell, on_finished=queue.end) as runner:
        for _ in queue:
            pass
        runner.close(linger_s=0)
    return runner


def rule_of(embedder: Embedder) -> DecisionRule:
    """As a worker names by default."""
    strangers = find_impostor_model(embedder.version, embedder.name)
    return choose_rule(None, DEFAULT_FPIR, strangers, embedder.threshold)[0]


def show_ranks(ranks: dict[str, list[float]]) -> None:
    """Mean percentile over tracks, and the bootstrap interval of the difference to ours."""
    ours = np.array(ranks["facegate"])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(ours), (2000, len(ours)))
    print(f"percentile of the chosen shot by mated similarity, {len(ours)} tracks")
    for name, values in ranks.items():
        low, high = np.percentile((ours - np.array(values))[draws].mean(1), (2.5, 97.5))
        print(f"  {name:32s} {np.mean(values):6.1f}   ours better by {low:6.1f} .. {high:5.1f}")


if __name__ == "__main__":
    main()
