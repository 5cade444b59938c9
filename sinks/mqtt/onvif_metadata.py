"""A shot as ONVIF Profile M metadata: JSON over MQTT, one frame with one human face. Pure.

ONVIF Analytics Service Specification, chapter on scene description in JSON: attributes of the XML schema
(``metadatastream.xsd``) have ``@`` before their names, the text of an element with attributes is ``#text``, and
elements that may repeat are arrays. Coordinates are normalized: x from -1 at the left edge to 1, y from -1 at the
bottom to 1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from facegate.sinks.wire import ShotHeader

MODULE = "facegate"


def metadata_topic(prefix: str, camera: str) -> str:
    """Topic of a camera's metadata; its name in place of a media profile's."""
    return f"{prefix}/onvif-mj/VideoAnalytics/{camera}/{MODULE}"


def frame_metadata(header: ShotHeader) -> dict[str, Any]:
    """Return the metadata of a shot. ``ObjectId`` is the number of its track."""
    width, height = header.frame_size
    left, top, right, bottom = header.box
    seen = header.captured_at if header.captured_at is not None else header.received_at
    moment = datetime.fromtimestamp(seen or 0.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    x = [_normalized(value, width) for value in (left, right)]
    y = [-_normalized(value, height) for value in (bottom, top)]
    shape = {
        "BoundingBox": {"@left": x[0], "@right": x[1], "@bottom": y[0], "@top": y[1]},
        "CenterOfGravity": {"@x": round(sum(x) / 2, 5), "@y": round(sum(y) / 2, 5)},
    }
    kind = [{"@Likelihood": round(header.confidence, 4), "#text": "HumanFace"}]
    face = {"@ObjectId": header.track_id, "Appearance": {"Shape": shape, "Class": {"Type": kind}}}
    return {"Frame": [{"@UtcTime": moment, "@Source": MODULE, "Object": [face]}]}


def _normalized(value: float, size: int) -> float:
    return round(2 * value / size - 1, 5)
