"""Value types of settings, and the base class of sections, which rejects unknown keys."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DEFAULT_BIND = "tcp://127.0.0.1:5570"
NAME_PATTERN = r"^[\w.-]{1,64}$"
TEXT_PATTERN = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=TEXT_PATTERN)]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT_PATTERN)]
"""A name for people to read, of any letters."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3, max_length=100)]
_ENDPOINT = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[\w.*-]+):\d{1,5}|ipc://.+")


_RATIO = re.compile(r"\d{1,5}(\.\d{1,6})?(:\d{1,5}(\.\d{1,6})?)?")

LOCAL = ("localhost", "127.0.0.1", "::1")


def _endpoint(text: str) -> str:
    if not _ENDPOINT.fullmatch(text):
        raise ValueError("must be tcp://HOST:PORT or ipc://FILE")
    if text.startswith("tcp://") and int(text.rpartition(":")[2]) > 65_535:
        raise ValueError("the port must be a number from 0 to 65535")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


def _in_order(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    if right - left < 0.01 or bottom - top < 0.01:
        raise ValueError("must be [left, top, right, bottom] with left < right and top < bottom")
    return region


Region = Annotated[tuple[Fraction, Fraction, Fraction, Fraction], AfterValidator(_in_order)]


def ratio(text: str) -> float:
    """Return ``16:9`` or ``1.78`` as width over height."""
    parts = [float(part) for part in text.split(":")]
    return parts[0] if len(parts) == 1 else parts[0] / parts[1]


def _aspect(value: object) -> str:
    text = str(value)
    if not _RATIO.fullmatch(text) or not all(map(float, text.split(":"))) or not 0.2 <= ratio(text) <= 5:
        # YAML 1.1 reads 16:9 without quotes as 16 minutes and 9 seconds.
        raise ValueError('must be "WIDTH:HEIGHT" in quotes, such as "16:9", or a number such as 1.78')
    return text


Aspect = Annotated[str, BeforeValidator(_aspect)]


class Section(BaseModel):
    """A section of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
