"""The first commands: ``facegate try``, a run without a worker, and a folder of pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

from facegate.demo.clip import DemoClip

from ..helpers import facegate


def test_try_names_people_and_makes_a_page(clip: DemoClip, tmp_path: Path) -> None:
    done = facegate("try", clip.path, "--gallery", clip.gallery, "--save", tmp_path / "out", "--no-open")
    assert done.returncode == 0, done.stderr
    enrolled = {person.name for person in clip.people if person.enrolled}
    page = (tmp_path / "out" / "index.html").read_text()
    for name in enrolled:
        assert f"  {name}  similarity" in done.stdout
        assert f"<b>{name}</b>" in page
    assert "unknown" in done.stdout and "<script" not in page
    assert len(list((tmp_path / "out").glob("*.jpg"))) == page.count("<img")


def test_a_run_without_a_worker_shows_its_best_shots(short_clip: Path, tmp_path: Path) -> None:
    done = facegate("run", short_clip, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best shots" in done.stderr and "facegate try" in done.stderr
    assert (tmp_path / "facegate-shots" / "index.html").is_file()
    asked = facegate("run", short_clip, "--linger", "0", cwd=tmp_path / "facegate-shots")
    assert asked.returncode == 1 and "were not acknowledged" in asked.stderr


def test_pictures_of_a_folder_are_looked_at_one_by_one(clip: DemoClip, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    people = sorted(clip.gallery.iterdir())
    for person in people:
        shutil.copy(next(person.iterdir()), pictures / f"{person.name}.png")
    shutil.copy(pictures / f"{people[0].name}.png", pictures / "again.png")
    done = facegate("try", pictures, "--gallery", clip.gallery, "--save", tmp_path / "out", "--no-open")
    assert done.returncode == 0, done.stderr
    for person in people:
        assert f"{person.name}.png  {person.name}  similarity" in done.stdout
    assert f"again.png  {people[0].name}  similarity" in done.stdout
