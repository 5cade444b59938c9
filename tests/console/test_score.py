"""``POST /score``: what the command line says, said to many at once, and nothing but pictures taken."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from facegate.demo.clip import DemoClip

from ..helpers import facegate
from .serving import Served


@pytest.fixture(scope="module")
def portrait(clip: DemoClip) -> Path:
    return sorted(clip.gallery.glob("*/1.png"))[0]


def test_it_says_what_the_command_line_says(console: Served, portrait: Path) -> None:
    (line,) = map(json.loads, facegate("score", portrait, "--reasons").stdout.splitlines())
    answer = console.upload("/score", "picture", portrait.read_bytes())
    assert answer.status == 200, answer.body
    found = answer.json()
    assert (found["height"], found["width"]) == cv2.imread(str(portrait)).shape[:2]
    (face,) = found["faces"]
    assert (face["quality"]["value"], face["quality"]["algorithm"]) == (line["quality"], line["algorithm"])
    assert face["box"] == line["box"] and face["reasons"]["components"] == line["components"]
    assert face["reasons"]["advice"] == line["advice"]["text"]
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(face["crop"]), np.uint8), cv2.IMREAD_COLOR)
    assert crop.shape == (112, 112, 3)


def test_many_who_ask_at_once_get_what_one_gets(console: Served, portrait: Path) -> None:
    picture = cv2.imread(str(portrait))
    sent = [cv2.imencode(".png", picture if i % 5 else np.zeros_like(picture))[1].tobytes() for i in range(50)]
    alone = [console.upload("/score", "picture", content).json()["faces"] for content in sent[:2]]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda content: console.upload("/score", "picture", content), sent))
    assert {answer.status for answer in answers} == {200}
    for index, answer in enumerate(answers):
        faces = answer.json()["faces"]
        assert [face["quality"]["value"] for face in faces] == [
            face["quality"]["value"] for face in alone[index % 5 > 0]
        ]


def test_a_phones_photograph_with_another_behind_it_is_a_picture(console: Served, portrait: Path) -> None:
    packed = BytesIO()
    whole = Pillow.open(portrait).convert("RGB")
    whole.save(packed, "MPO", save_all=True, append_images=[whole.resize((64, 64))])
    answer = console.upload("/score", "picture", packed.getvalue())
    assert answer.status == 200 and len(answer.json()["faces"]) == 1


def test_what_is_no_picture_is_refused_with_words(console: Served, portrait: Path) -> None:
    def refused(content: bytes) -> tuple[int, str]:
        answer = console.upload("/score", "picture", content)
        problem = answer.json()
        assert problem["status"] == answer.status and problem["remedy"]
        return answer.status, problem["detail"]

    film = BytesIO()
    frames = [Pillow.fromarray(np.full((40, 40, 3), level, np.uint8)) for level in (0, 90, 200)]
    frames[0].save(film, "PNG", save_all=True, append_images=frames[1:])
    assert refused(film.getvalue()) == (422, "the picture is an animation with 3 frames")
    assert refused(b"no picture")[0] == 422 and refused(b"")[0] == 422
    assert refused(portrait.read_bytes()[:400])[0] == 422
    bomb = BytesIO()
    Pillow.new("1", (20_000, 5_000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 100_000 and refused(bomb.getvalue()) == (422, "the picture has 20000x5000 pixels")
    assert refused(bytes(9 * 2**20))[0] == 413
    assert console.api("POST", "/score", {"picture": "x"}).status == 422
    assert console.upload("/score", "picture", portrait.read_bytes()).status == 200
