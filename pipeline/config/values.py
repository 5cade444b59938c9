"""What settings are made of: the kinds of values, and the section that refuses what it does not know."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DEFAULT_BIND = "tcp://127.0.0.1:5570"
Name = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3, max_length=100)]
_ENDPOINT = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[\w.*-]+):\d{1,5}|ipc://.+")


_RATIO = re.compile(r"\d{1,5}(\.\d{1,6})?(:\d{1,5}(\.\d{1,6})?)?")

LOCAL = ("localhost", "127.0.0.1", "::1")


def _endpoint(text: str) -> str:
    if not _ENDPOINT.fullmatch(text):
        raise ValueError("an endpoint is tcp://HOST:PORT or ipc://FILE")
    if text.startswith("tcp://") and int(text.rpartition(":")[2]) > 65_535:
        raise ValueError("a port is a number from 0 to 65535")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


def _in_order(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    if right - left < 0.01 or bottom - top < 0.01:
        raise ValueError("left, top, right, bottom: right must be greater than left and bottom than top")
    return region


Region = Annotated[tuple[Fraction, Fraction, Fraction, Fraction], AfterValidator(_in_order)]


def ratio(text: str) -> float:
    """``16:9`` or ``1.78`` as a number."""
    parts = [float(part) for part in text.split(":")]
    return parts[0] if len(parts) == 1 else parts[0] / parts[1]


def _shape(value: object) -> str:
    text = str(value)
    if not _RATIO.fullmatch(text) or not all(map(float, text.split(":"))) or not 0.2 <= ratio(text) <= 5:
        # YAML 1.1 reads 16:9 without quotes as 16 minutes and 9 seconds.
        raise ValueError('a shape is "WIDTH:HEIGHT" with quotes, such as "16:9", or a number such as 1.78')
    return text


Aspect = Annotated[str, BeforeValidator(_shape)]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
