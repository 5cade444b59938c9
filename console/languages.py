"""Languages of the pages: catalogs from English texts to others, and which one a request gets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
from fastapi import Request

FOLDER = Path(__file__).parent / "web" / "static" / "languages"
LANGUAGES = {"en": "English", "de": "Deutsch", "es": "Español"}
"""Names of the languages by code; texts in the code are English."""
COOKIE = "facegate-language"
"""Holds the language that somebody has chosen; the browser's preference decides without it."""


@cache
def catalog(language: str) -> Mapping[str, str]:
    """Translations of the texts of the pages; empty for English."""
    if language == "en":
        return {}
    return msgspec.json.decode((FOLDER / f"{language}.json").read_bytes(), type=dict[str, str])


def language_of(request: Request) -> str:
    """Code of the language for a request."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    return preferred(request.headers.get("accept-language", ""))


def preferred(header: str) -> str:
    """Language that an ``Accept-Language`` header prefers (RFC 9110, 12.5.4); English if it prefers none."""
    wanted = []
    for position, part in enumerate(header.split(",")):
        language, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), position, language.lower().partition("-")[0]))
        except ValueError:
            continue
    return next((code for quality, _, code in sorted(wanted) if code in LANGUAGES and quality < 0), "en")
