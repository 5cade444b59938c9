"""What the length of the teacher's embedding owes to a group and not to the picture.

A recognizer's embeddings are shorter for groups that it saw less of. A student that learns this length would call
their faces worse. So the part of it that UTKFace's labels, or a person's name, explain is taken off the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facegate.training.pool import AGES, GENDERS, RACES, labels

Floats = NDArray[np.float32]


def group_offsets(names: Sequence[str], length: Floats) -> Floats:
    """``(N,)``: what to take off each crop's length.

    Args:
        names: of the crops in their archive; see :func:`facegate.training.pool.labels`.
        length: ``(N,)`` of the teacher's embedding of the clean crop.
    """
    offsets = np.zeros(len(names), np.float32)
    found = [(row, label) for row, name in enumerate(names) if (label := labels(name)) is not None]
    if found:
        rows = np.array([row for row, _ in found])
        columns = [f"{low}-{high}" for low, high in AGES], list(GENDERS), list(RACES)
        design = np.ones((len(rows), 1 + sum(map(len, columns))))
        for line, (_, label) in enumerate(found):
            values = (label.age, label.gender, label.race)
            design[line, 1:] = [
                float(own == each) for own, known in zip(values, columns, strict=True) for each in known
            ]
        weights = np.linalg.lstsq(design, length[rows].astype(np.float64), rcond=None)[0]
        explained = design @ weights
        offsets[rows] = explained - explained.mean()
    people: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name.startswith("glint/"):
            people.setdefault(name.split("/")[1], []).append(row)
    for members in people.values():
        offsets[members] = length[members].mean() - length.mean()
    return offsets
