"""The reference says what the code has, and names everything that others can rely on."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from facegate.fleet import peer_exchange
from facegate.pipeline.records import Outcome, Reason
from facegate.recognition.publishers.factory import SECRET
from facegate.sinks import jetstream, wire
from facegate.sinks.mqtt import connection, discovery, shots

from .reference import BLOCKS, DOCS, SECTIONS, described, generated, pages

REFERENCE = DOCS / "reference"
COMMAND = "run python -m tests.docs.reference"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_generated_parts_are_what_the_code_has(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == generated(text), COMMAND


def test_every_generated_part_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    assert {name for name in BLOCKS if f"<!-- generated: {name} -->" not in text} == set()


def test_every_section_of_the_configuration_is_in_the_reference() -> None:
    known = {cls.__name__ for _, cls in SECTIONS} | {"RunConfig"}
    used = {
        field
        for _, cls in SECTIONS
        for field in re.findall(r"\w+Config", " ".join(str(info.annotation) for info in cls.model_fields.values()))
    }
    assert used <= known
    for _, cls in SECTIONS:
        assert [field.name for field in described(cls)] == list(cls.model_fields), cls


def test_names_of_topics_subjects_and_streams_are_in_the_reference() -> None:
    text = (REFERENCE / "mqtt-and-nats.md").read_text(encoding="utf-8")
    names = (
        jetstream.STREAM, jetstream.SUBJECT, jetstream.ENDED_SUBJECT, jetstream.LIVE_SUBJECT, jetstream.DEAD_STREAM,
        jetstream.DEAD_SUBJECT, peer_exchange.SUBJECT, connection.PREFIX, shots.REMOVED, discovery.DISCOVERY,
        SECRET,
    )  # fmt: skip
    assert [name for name in names if name not in text] == []


def test_every_field_of_a_shot_is_in_the_reference() -> None:
    text = (REFERENCE / "wire.md").read_text(encoding="utf-8")
    for record in (wire.ShotHeader, wire.QualityBlock, wire.ReasonsBlock, wire.EmbeddingBlock):
        assert [each.name for each in msgspec.structs.fields(record) if f"`{each.name}`" not in text] == []


def test_every_outcome_and_every_reason_is_in_the_reference() -> None:
    text = (REFERENCE / "outcomes.md").read_text(encoding="utf-8")
    assert [each.value for each in (*Outcome, *Reason) if f"| `{each.value}` |" not in text] == []
