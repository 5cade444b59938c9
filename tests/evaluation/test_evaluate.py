"""``facegate evaluate`` on real photographs: tables, JSON, picture, kept results, and refusals."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.detectors.base import Detector
from facegate.errors import ConfigError
from facegate.evaluation.datasets import Pair, load_pairs, load_set, verification_accuracy
from facegate.evaluation.degrade import KINDS, degrade_half

from ..helpers import facegate


def test_evaluate_ranks_methods_and_keeps_its_work(data: Path, tmp_path: Path) -> None:
    models = data / "models"
    arguments = [
        *("evaluate", data / "photos", "--recognizer", models / "mobilefacenet-y1.onnx", "--fmr", "0.01"),
        *("--quality", f"random,laplacian,width,norm:{models / 'mobilefacenet-y1.onnx'}", "--degraded", "0"),
        *("--detector", "yunet", "--detector-path", models / "yunet_n_640_640.onnx", "--cache", tmp_path / "cache"),
        *("--json", tmp_path / "r.json", "--plot", tmp_path / "r.png"),
    ]
    first = facegate(*arguments)
    assert first.returncode == 0, first.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    (judged,) = result["recognizers"]
    methods = {method["method"]: method for method in judged["methods"]}
    assert set(methods) == {"random", "laplacian", "width", "norm:mobilefacenet-y1"}
    assert methods["norm:mobilefacenet-y1"]["mean_fnmr"] < methods["random"]["mean_fnmr"]
    assert f"(similarity {judged['similarity']:.3f})" in first.stdout.replace("\n", " ")
    assert cv2.imread(str(tmp_path / "r.png")) is not None
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert facegate(*arguments).stdout == first.stdout
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}


def test_an_unknown_method_and_an_fmr_out_of_reach_are_refused(data: Path, tmp_path: Path) -> None:
    judge = ["--recognizer", data / "models" / "mobilefacenet-y1.onnx", "--cache", tmp_path]
    unknown = facegate("evaluate", data / "photos", *judge, "--quality", "beauty")
    assert unknown.returncode == 2 and "unknown quality method 'beauty'" in unknown.stderr
    people = tmp_path / "two"
    for name in ("Bill_Gates", "Al_Pacino"):
        (people / name).mkdir(parents=True)
        for file in sorted((data / "photos" / name).iterdir())[:2]:
            (people / name / file.name).write_bytes(file.read_bytes())
    few = facegate("evaluate", people, *judge, "--quality", "random")
    assert few.returncode == 2 and "needs 10000 non-mated comparisons, got 4" in few.stderr


def test_a_zip_and_a_folder_give_the_same_set_and_aligned_pictures_are_left_alone(
    mtcnn: Detector, tmp_path: Path
) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    for person in ("a", "b"):
        (tmp_path / "set" / person).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / person / "1.png"), crop[:, :, ::-1])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for person in ("a", "b"):
            archive.write(tmp_path / "set" / person / "1.png", f"top/{person}/1.png")
    folder, packed = (load_set(tmp_path / name, mtcnn, tmp_path / "cache") for name in ("set", "set.zip"))
    assert folder.files == packed.files == ["a/1.png", "b/1.png"] and folder.names == ["a", "b"]
    np.testing.assert_array_equal(folder.crops[0], crop)
    assert folder.digest == packed.digest and np.isnan(folder.widths).all()
    with pytest.raises(ConfigError, match="no evaluation set"):
        load_set(tmp_path / "none", mtcnn, tmp_path)


def test_verification_takes_each_folds_threshold_from_the_others() -> None:
    rows = np.array([[1, 0], [0.9, 0.44], [0, 1], [0.44, 0.9]], np.float32)
    pairs = [
        Pair(f, a, b, s) for f in (1, 2) for a, b, s in (("0", "1", True), ("0", "2", False), ("2", "3", True))
    ]
    assert verification_accuracy(pairs, ["0", "1", "2", "3"], rows) == 1.0
    wrong = [*pairs, Pair(2, "0", "1", False)]
    assert verification_accuracy(wrong, ["0", "1", "2", "3"], rows) < 1.0


def test_a_line_of_pairs_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("fold\ta\tb\tsame\n1\tx\ty\t1\n1\tx\ty\n")
    with pytest.raises(ConfigError, match="line 3"):
        load_pairs(path)


@settings(max_examples=40)
@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.integers(0, 1000))
def test_a_degradation_keeps_shape_and_type_and_is_repeatable(kind: str, severity: float, seed: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    once, twice = (KINDS[kind](crop, severity, np.random.default_rng(seed)) for _ in range(2))
    assert once.shape == crop.shape and once.dtype == np.uint8
    np.testing.assert_array_equal(once, twice)
    assert (once != crop).any()


def test_every_kind_hurts_more_the_more_severe_it_is() -> None:
    """Mean distance from a smooth picture; sharpness-removing kinds are given one with detail."""
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 1.2)
    for name, kind in KINDS.items():
        errors = [
            np.mean([np.abs(kind(base, s, np.random.default_rng(i)).astype(int) - base).mean() for i in range(8)])
            for s in (0.0, 0.5, 1.0)
        ]
        assert errors[0] < errors[1] < errors[2], name


def test_half_of_a_set_is_degraded_and_the_same_half_every_time() -> None:
    crops = np.random.default_rng(1).integers(0, 256, (20, 112, 112, 3)).astype(np.uint8)
    first, second = degrade_half(crops, 3), degrade_half(crops, 3)
    np.testing.assert_array_equal(first, second)
    assert sum((a != b).any() for a, b in zip(first, crops, strict=True)) == 10
