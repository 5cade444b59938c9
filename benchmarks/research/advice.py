"""Does the advice name what is wrong, and leave alone what is not?

    python -m benchmarks.research.advice ../shared/data/faces/lfw-folds-1-4.zip [--yunet yunet_n_640_640.onnx]

Faces of good quality get each of seven defects; the detector finds them again. A row for each defect: in how many
pictures a face was found at all, what was said of it, with a 95 % interval (Wilson, over faces), and what it costs.
"""

from __future__ import annotations

import argparse
import zipfile
from collections import Counter
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import cv2
import numpy as np

from benchmarks.host_info import cpu
from facegate.cpu import limit_threads, share_cores
from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector
from facegate.evaluation.research.defects import DEFECTS
from facegate.pipeline.quality.advice import Advice, Adviser, Defect, adviser_for
from facegate.pipeline.quality.components import components, measure
from facegate.pipeline.records import Image
from facegate.scoring.engine import Scorer, load_scorer

GOOD_QUALITY = 60


def pictures(archive: Path, rng: np.random.Generator) -> Iterator[Image]:
    with zipfile.ZipFile(archive) as pack:
        for name in rng.permutation([name for name in sorted(pack.namelist()) if name.endswith(".jpg")]):
            decoded: Any = cv2.imdecode(np.frombuffer(pack.read(name), np.uint8), cv2.IMREAD_COLOR)
            yield cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


class Bench:
    """Advice for pictures, and what it took beside the score."""

    def __init__(self, detector: Detector, scorer: Scorer, adviser: Adviser) -> None:
        self.detector = detector
        self._scorer = scorer
        self._adviser = adviser
        self.score_s: list[float] = []
        self.advice_s: list[float] = []

    def advise(self, frame: Image) -> tuple[Advice, int] | None:
        """Of the face that the detector is surest of, with its quality."""
        found = self.detector.detect([frame])[0]
        if not found:
            return None
        crop = align(frame, found[0].landmarks)
        begun = process_time()
        scores = self._scorer.score(crop[None])
        scored = process_time()
        seen = measure(crop, found[0], (frame.shape[1], frame.shape[0]))
        advice = self._adviser.advise(seen, components(seen), scores.patches[0], int(scores.quality[0]))
        self.advice_s.append(process_time() - scored)
        self.score_s.append(scored - begun)
        return advice, int(scores.quality[0])


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, p = 1.96, hits / of
    middle, reach = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (middle - reach) / (1 + z * z / of), (middle + reach) / (1 + z * z / of)


def line(name: str, said: Counter[str], right: str, tried: int) -> str:
    of = said.total()
    low, high = wilson(said[right], of)
    rest = ", ".join(f"{what} {count}" for what, count in said.most_common() if what != right)
    return (
        f"{name:9} found {of:3} of {tried:3}; named {said[right]:3}: {said[right] / of:.3f} "
        f"({low:.3f} to {high:.3f}); else {rest or 'nothing'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--yunet", type=Path, help="Instead of MTCNN.")
    parser.add_argument("--faces", type=int, default=300, help="Found with each defect.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    share_cores()
    limit_threads(1)
    scorer = load_scorer()
    adviser = adviser_for(scorer.card.name)
    assert adviser is not None
    bench = Bench(load_detector("yunet" if arguments.yunet else "mtcnn", arguments.yunet), scorer, adviser)
    rng = np.random.default_rng(arguments.seed)
    said: dict[Defect | None, Counter[str]] = {defect: Counter() for defect in (None, *Defect)}
    tried: Counter[Defect] = Counter()
    good = 0
    for frame in pictures(arguments.archive, rng):
        plain = bench.advise(frame)
        if plain is None or plain[1] < GOOD_QUALITY:
            continue
        good += 1
        said[None][plain[0].defect or plain[0].text] += 1
        landmarks = bench.detector.detect([frame])[0][0].landmarks
        for defect in Defect:
            if said[defect].total() >= arguments.faces:
                continue
            tried[defect] += 1
            found = bench.advise(DEFECTS[defect](frame, landmarks, rng))
            if found is not None:
                said[defect][found[0].defect or "good"] += 1
        if all(said[defect].total() >= arguments.faces for defect in Defect):
            break
    print(cpu(), bench.detector.name, f"seed {arguments.seed}", sep="; ")
    print(line("as it is", said[None], "good", good))
    for defect in Defect:
        print(line(defect, said[defect], defect, tried[defect]))
    score, advice = median(bench.score_s), median(bench.advice_s)
    print(
        f"advice {1000 * advice:.2f} ms beside a score of {1000 * score:.2f} ms, one by one: {advice / score:.3f}"
    )


if __name__ == "__main__":
    main()
