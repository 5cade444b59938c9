"""Templates of visits on their way from a worker to a store."""

from __future__ import annotations

import msgspec

from facegate.recognition.embedders import unit
from facegate.recognition.worker.visit_state import VisitState, unpack
from facegate.sinks.wire import EncodedShot
from facegate.store.records import VisitTemplate, packed


class _Header(msgspec.Struct, frozen=True):
    template: str
    """Id of the visit."""
    recognizer: str


def template_entry(state: VisitState, recognizer: str) -> EncodedShot:
    """Encode the template of a visit, from all its shots; it takes the place of a crop."""
    return EncodedShot(
        shot_id=f"{state.visit}/template/{state.shots}",
        camera=state.camera,
        track_id=state.track_id,
        header=msgspec.json.encode(_Header(state.visit, recognizer)),
        crop=packed(unit(unpack(state.sum))),
    )


def template_of(entry: EncodedShot) -> VisitTemplate | None:
    """Decode an entry of :func:`template_entry`; ``None`` if it is something else."""
    try:
        header = msgspec.json.decode(entry.header, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return VisitTemplate(header.template, header.recognizer, entry.crop)
