"""Every text of the pages is in every language, and what is filled in is the same in all of them.

python -m tests.texts.test_translations     # lists what is missing or no longer used
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from facegate.console.alarms.conditions import KINDS
from facegate.console.languages import FOLDER, LANGUAGES, preferred
from facegate.console.security.accounts import Role
from facegate.console.web.pages import FLEET, HOSTS, PAGES
from facegate.pipeline.cameras.camera import CameraState
from facegate.pipeline.quality.advice import EYES, GOOD, MOUTH, SENTENCES, UNCLEAR
from facegate.pipeline.records import Outcome, Reason
from facegate.recognition.enrollment.records import Pose

WEB = Path(__file__).parent.parent.parent / "console" / "web"
TEXT = r'"((?:[^"\\]|\\.)*)"'
CALL = re.compile(rf"(?<![\w.])t\({TEXT}")
PLURAL = re.compile(rf"(?<![\w.])plural\((?:[^()\"]|\([^()]*\))+, {TEXT}, {TEXT}")
TABLE = re.compile(r"(?<![\w.])(?:table|tableOf)\(\[([^\]]*)\]|const (?:counts|NUMBERS) = \[([^\]]*)\]")
ORDER = re.compile(rf"^  (?:{TEXT}|(\w+)): \(a, b\)", re.MULTILINE)
TITLE = re.compile(rf"title={TEXT}")
WORDS = {
    *(each.value.replace("_", " ") for each in (*Outcome, *Reason, *CameraState)),
    *(*SENTENCES.values(), EYES, MOUTH, GOOD, UNCLEAR),
    *(*KINDS, *get_args(Role), *get_args(Pose)),
    *("gate", "worker", "console", "recognition", "server", "warning", "error", "critical", "paused", "waiting"),
    *("copies in automatic backups", "files set aside as damaged", "lines", "pending entries", "pictures"),
    *("recording segments", "rules and waiting messages", "stored visits", "unknown faces"),
    *("decode", "detect", "track", "score", "gate", "deliver", "rest"),
}
"""Words of the API that pages translate."""


def code(path: Path) -> str:
    """A script without its comments."""
    return re.sub(r"^\s*(//|\*|/\*\*).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the pages with the file that has it."""
    for path in sorted(WEB.rglob("static/*.js")):
        content = code(path)
        found = [match[1] for match in CALL.finditer(content)]
        found += [text for match in PLURAL.finditer(content) for text in match.groups()]
        heads = [part for match in TABLE.finditer(content) for part in match.groups() if part]
        found += [text for part in heads for text in re.findall(TEXT, part) if text]
        found += [match[1] or match[2] for match in ORDER.finditer(content)]
        yield from ((path.name, json.loads(f'"{text}"')) for text in found)
    for path in sorted((WEB / "templates").iterdir()):
        yield from ((path.name, match[1]) for match in CALL.finditer(path.read_text(encoding="utf-8")))
    yield from (("pages.py", title) for title in (*PAGES.values(), *FLEET.values(), *HOSTS.values()))
    yield from (("pages.py", match[1]) for match in TITLE.finditer((WEB / "pages.py").read_text(encoding="utf-8")))
    yield from (("the API", word) for word in sorted(WORDS))


def catalog(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


OTHERS = [language for language in LANGUAGES if language != "en"]


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_and_nothing_else(language: str) -> None:
    used, known = {text for _, text in texts()}, catalog(language)
    assert {(file, text) for file, text in texts() if text not in known} == set()
    assert set(known) - used == set(), "no page has these texts"
    assert list(known) == sorted(known, key=str.casefold)


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_filled_in_is_the_same(language: str) -> None:
    for text, translation in catalog(language).items():
        assert translation.strip() == translation != "", text
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", translation)), text
        assert (text[-1] in ":…?") == (translation[-1] in ":…?"), text


def test_strings_of_pages_are_translated() -> None:
    """Nothing that a page shows is a bare string: every child of an element and every label is."""
    bare = re.compile(r'h\("\w+", \{[^{}]*\}, "([A-Za-z][^"]*)"|"aria-label": "([^"]*)"|field\("([^"]*)"')
    for path in sorted(WEB.rglob("static/*.js")):
        assert [match[0] for match in bare.finditer(code(path))] == [], path.name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("de-CH,de;q=0.9,en;q=0.8", "de"), ("fr,es;q=0.5", "es"), ("en;q=0.1, DE;q=0.2", "de"),
        ("nonsense;q=x, es", "es"), ("de;q=0", "en"), ("*", "en"),
    ],
)  # fmt: skip
def test_the_language_is_what_the_browser_prefers(header: str, language: str) -> None:
    assert preferred(header) == language


if __name__ == "__main__":
    used = {text for _, text in texts()}
    for language in OTHERS:
        known = catalog(language)
        found = {"missing": sorted(used - set(known)), "unused": sorted(set(known) - used)}
        print(language, json.dumps(found, indent=1, ensure_ascii=False))
