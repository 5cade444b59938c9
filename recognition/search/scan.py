"""Parts of an index: templates that are scanned exhaustively, exactly or as codes.

Codes are faiss's fast scan of product-quantized vectors (André, Kermarrec, Le Scouarnec 2015), as for large
galleries: four bits for each two numbers. They give candidates, whose templates are then compared exactly.
"""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.paths import replacing
from facegate.pipeline.records import Floats

Ids = NDArray[np.int64]
TRAINING = 20_000
"""Number of templates to which the codes are fitted."""
SUFFIX = ".segment"


def has_faiss() -> bool:
    """Whether codes are available."""
    return importlib.util.find_spec("faiss") is not None


class ExactPart:
    """Templates in memory. Not thread-safe."""

    def __init__(self) -> None:
        self._ids: list[Ids] = []
        self._templates: list[Floats] = []
        self.count = 0

    def add(self, ids: Ids, templates: Floats) -> None:
        """Add templates ``(N, D)`` with ids ``(N,)``."""
        self._ids.append(ids)
        self._templates.append(templates)
        self.count += len(ids)

    def content(self) -> tuple[Ids, Floats]:
        """All ids and templates."""
        if len(self._ids) > 1:
            self._ids, self._templates = [np.concatenate(self._ids)], [np.concatenate(self._templates)]
        return self._ids[0], self._templates[0]

    def search(self, probe: Floats, limit: int) -> tuple[Ids, Floats]:
        """Ids and similarities of the ``limit`` most similar templates, in no order."""
        if not self.count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        ids, templates = self.content()
        similarities = templates @ probe
        if len(ids) > limit:
            best = np.argpartition(similarities, -limit)[-limit:]
            return ids[best], similarities[best]
        return ids, similarities


class CodedPart:
    """Templates as codes in memory. Searches may run in parallel, but not with :meth:`add`."""

    def __init__(self, index: Any, ids: Ids) -> None:
        self._index = index
        self._ids = [ids]
        self.count = len(ids)

    @classmethod
    def train(cls, templates: Floats) -> CodedPart:
        """Create an empty part whose codes are fitted to templates ``(N, D)``, D even."""
        import faiss

        dimensions = templates.shape[1]
        index = faiss.index_factory(dimensions, f"PQ{dimensions // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
        chosen = np.random.default_rng(0).permutation(len(templates))[:TRAINING]
        index.train(np.ascontiguousarray(templates[np.sort(chosen)]))
        return cls(index, np.empty(0, np.int64))

    def empty(self) -> CodedPart:
        """Create an empty part with the same codes."""
        import faiss

        index = faiss.clone_index(self._index)
        index.reset()
        return CodedPart(index, np.empty(0, np.int64))

    def add(self, ids: Ids, templates: Floats) -> None:
        """See :meth:`ExactPart.add`."""
        self._index.add(np.ascontiguousarray(templates))
        self._ids.append(ids)
        self.count += len(ids)

    @property
    def ids(self) -> Ids:
        """All ids."""
        if len(self._ids) > 1:
            self._ids = [np.concatenate(self._ids)]
        return self._ids[0]

    def search(self, probe: Floats, limit: int) -> tuple[Ids, Floats]:
        """Ids and approximate similarities; see :meth:`ExactPart.search`."""
        if not self.count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        similarities, rows = self._index.search(probe[None], min(limit, self.count))
        found = rows[0] >= 0
        return self.ids[rows[0][found]], similarities[0][found]


class Origin(msgspec.Struct, frozen=True):
    """What a segment was made of."""

    recognizer: str
    generation: int
    """See :meth:`facegate.store.templates.TemplateReader.indexed`."""


class _SegmentFile(msgspec.Struct, frozen=True):
    origin: Origin
    ids: bytes
    index: bytes
    checksum: int


class Segment(msgspec.Struct, frozen=True, eq=False):
    """A part in a file of its own, which never changes."""

    after: int
    last: int
    """Every template with an id above ``after`` and up to ``last`` is in it, unless it was removed."""
    part: CodedPart

    def write(self, folder: Path, origin: Origin) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        import faiss

        ids, index = self.part.ids.tobytes(), faiss.serialize_index(self.part._index).tobytes()
        found = _SegmentFile(origin, ids, index, zlib.crc32(index, zlib.crc32(ids)))
        with replacing(folder / self.file_name, 0o600) as written:
            written.write_bytes(msgspec.msgpack.encode(found))

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.after}-{self.last}{SUFFIX}"


def segment_range(path: Path) -> tuple[int, int] | None:
    """``after`` and ``last`` of a segment's file; ``None`` for another file."""
    after, _, last = path.stem.partition("-")
    return (int(after), int(last)) if path.suffix == SUFFIX and after.isdecimal() and last.isdecimal() else None


def read_segment(path: Path, origin: Origin) -> Segment | None:
    """Read a segment; ``None`` if it is damaged, or of another origin."""
    import faiss

    found = segment_range(path)
    try:
        content = msgspec.msgpack.decode(path.read_bytes(), type=_SegmentFile)
    except (OSError, msgspec.DecodeError):
        return None
    sound = zlib.crc32(content.index, zlib.crc32(content.ids)) == content.checksum
    if found is None or not sound or content.origin != origin:
        return None
    index = faiss.deserialize_index(np.frombuffer(content.index, np.uint8))
    return Segment(*found, CodedPart(index, np.frombuffer(content.ids, np.int64)))
