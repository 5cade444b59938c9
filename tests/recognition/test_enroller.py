"""Enrollment is judged: planted faults are found, and what is refused does not come in."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.records import Image
from facegate.recognition.enrollment.names import folder_person

from ..helpers import facegate

PEOPLE, EACH = 60, 3
INNOCENT = 2

Pictures = dict[str, dict[str, bytes]]


def _jpeg(picture: Image) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _decoded(content: bytes) -> Image:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def gallery_with_faults(
    faces: Path, seed: int, *, faults: bool = True
) -> tuple[Pictures, set[tuple[str, str]], set[str]]:
    """60 people of LFW, and ten faults: which pictures are wrong, and who goes by two names."""
    with zipfile.ZipFile(faces) as archive:
        files: dict[str, list[str]] = defaultdict(list)
        for entry in sorted(archive.namelist()):
            if entry.endswith(".jpg"):
                files[entry.split("/")[-2]].append(entry)
        rng = np.random.default_rng(seed)
        chosen = [str(name) for name in rng.permutation(sorted(files)) if len(files[str(name)]) > EACH][:PEOPLE]
        stranger = str(rng.choice([name for name in sorted(files) if name not in chosen]))
        read = {
            name: {file.split("/")[-1]: archive.read(file) for file in files[name][: EACH + 1]}
            for name in [*chosen, stranger]
        }
    spare = {name: pictures.popitem() for name, pictures in read.items() if len(pictures) > EACH}
    found = {name: read[name] for name in chosen}
    wrong: set[tuple[str, str]] = set()
    if not faults:
        return found, wrong, set()

    def plant(name: str, file: str, content: bytes) -> None:
        found[name][file] = content
        wrong.add((name, file))

    first, second, *others = chosen
    for name, other in ((first, second), (second, first)):
        found[name].pop(next(iter(read[name])))
        plant(name, f"of-{other}.jpg", spare[other][1])
    for name in others[:3]:
        file = next(iter(found[name]))
        plant(name, file, _jpeg(np.asarray(cv2.GaussianBlur(_decoded(found[name][file]), (0, 0), 3.5), np.uint8)))
    plant(others[3], "stranger.jpg", next(iter(read[stranger].values())))
    group = [_decoded(next(iter(found[name].values()))) for name in (others[4], others[20], others[21])]
    plant(others[4], "group.jpg", _jpeg(np.hstack(group)))
    plant(others[5], "wall.jpg", _jpeg(np.full((250, 250, 3), 120, np.uint8)))
    plant(others[6], "again.jpg", _jpeg(_decoded(next(iter(found[others[6]].values())))))
    file, content = found[others[7]].popitem()
    found["Somebody"] = {file: content, "spare.jpg": spare[others[7]][1]}
    return found, wrong, {others[7], "Somebody"}


def write(pictures: Pictures, folder: Path) -> Path:
    for name, files in pictures.items():
        (folder / name).mkdir(parents=True)
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    return folder


@pytest.mark.parametrize("seed", [0])
def test_every_planted_fault_is_found_and_hardly_anybody_else_is_accused(
    data: Path, tmp_path: Path, seed: int
) -> None:
    pictures, in_folders, folders = gallery_with_faults(data / "faces" / "lfw-folds-1-4.zip", seed)
    wrong, one = {(folder_person(name), file) for name, file in in_folders}, set(map(folder_person, folders))
    folder, page = write(pictures, tmp_path / "staff"), tmp_path / "check.html"
    models = (
        *("--embedder", data / "models" / "mobilefacenet-y1.onnx"),
        *("--detector-path", data / "models" / "yunet_n_640_640.onnx"),
    )
    done = facegate("gallery", "check", folder, *models, "--page", page, "--json")
    assert done.returncode == 1, done.stderr
    faults = json.loads(done.stdout)
    accused = {(fault["person"], Path(fault["source"]).name) for fault in faults if fault["source"]}
    assert wrong <= accused, wrong - accused
    assert len(accused - wrong) <= INNOCENT, accused - wrong
    assert any({fault["person"], fault["other"]} == one for fault in faults)
    assert all(fault["reason"] and fault["remedy"] for fault in faults)
    assert page.read_text().count("class='accused'") >= len(wrong) - 1, "but for the one without a face"

    # What is refused does not come in; what somebody insists on does.
    kept = tmp_path / "people.db"
    name, file = min(in_folders & {(name, "stranger.jpg") for name in pictures})
    done = facegate("gallery", "add", kept, folder, *models, "--accept", folder / name / file, "--json")
    assert done.returncode == 1, done.stderr
    added = json.loads(done.stdout)
    enrolled = {
        (picture["person"], Path(picture["source"]).name): picture["accepted"]
        for person in json.loads(facegate("gallery", "list", kept, "--json").stdout)
        for picture in json.loads(facegate("gallery", "show", kept, person["name"], "--json").stdout)[:1]
    }
    assert len(enrolled) >= PEOPLE - 1
    refused = {(fault["person"], Path(fault["source"]).name) for fault in added["faults"] if fault["source"]}
    assert wrong - {(folder_person(name), file)} <= refused and not refused & enrolled.keys()
    assert added["added"] == sum(map(len, pictures.values())) - len(refused)
    shown = json.loads(facegate("gallery", "show", kept, name, "--json").stdout)
    assert {Path(p["source"]).name: p["accepted"] for p in shown}[file] is True
    again = json.loads(facegate("gallery", "add", kept, folder / name, "--name", name, *models, "--json").stdout)
    assert (again["added"], again["known"]) == (0, len(shown))
    done = facegate("gallery", "merge", kept, "Somebody", min(one - {"Somebody"}))
    assert done.returncode == 0 and ": 2 pictures moved" in done.stdout


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    db = tmp_path / "people.db"
    for arguments, message in {
        ("list", db): "no gallery at",
        ("add", tmp_path / "people.txt", tmp_path): "is empty",
        ("add", db, tmp_path, tmp_path): "several PICTURES without --name",
        ("add", db, tmp_path / "none.jpg", "--name", "ann"): "does not exist",
        ("remove", db, "ann"): "no gallery at",
        ("check", tmp_path, "--accept", "x"): "--accept needs a gallery file",
    }.items():
        done = facegate("gallery", *arguments)
        assert done.returncode != 0 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not db.exists()


def test_a_poor_picture_is_refused_with_what_would_help(clip: DemoClip, tmp_path: Path) -> None:
    picture = cv2.GaussianBlur(cv2.imread(str(clip.gallery / "guest-3" / "1.png")), (0, 0), 5)
    cv2.imwrite(str(tmp_path / "blurred.png"), picture)
    done = facegate("gallery", "add", tmp_path / "people.db", tmp_path / "blurred.png", "--name", "Ada")
    assert done.returncode == 1 and "the minimum is 20; take another picture: blurred: hold still" in done.stdout
