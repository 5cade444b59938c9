"""``store``: what a console keeps of each visit, and for how long."""

from __future__ import annotations

from pydantic import Field

from facegate.pipeline.config.values import Section


class StoreConfig(Section):
    """What is kept of each visit for a console (``facegate serve``, ``facegate run --data``)."""

    scene_px: int | None = Field(960, ge=64, le=1280)
    """Keep the whole picture of each visit's best shot, with its longer side scaled to this many pixels and masks
    painted black; ``null`` keeps none. Higher shows more and needs more disk space. Where ``delivery.context_px``
    is set, that size is kept."""
    blur_others: bool = False
    """Blur the other faces that were found in a whole picture before it leaves the gate, also with
    ``delivery.context_px``. ``true``: a picture shows whom the visit is about; others whom the detector did not
    find stay visible. Not together with ``clip_s``, as video is not encoded again."""
    scene_days: float | None = Field(None, gt=0)
    """Days after which whole pictures and clips are deleted; with their visit by default."""
    clip_s: float = Field(0.0, ge=0, le=8)
    """Seconds of video kept before and after the first shot of each visit, cut from the packets of ``source``
    without encoding them again; 0 keeps none. The last 10 s, at most 16 MiB, are then held in memory for each
    camera. Network streams only, and not with ``mask``, which cannot be painted into packets."""
    days: float | None = Field(None, gt=0)
    """Days after which visits are deleted; as ``facegate serve --days`` by default."""
    unknown_days: float | None = Field(None, gt=0)
    """Days after which visits without a name are deleted; as ``days`` by default."""
