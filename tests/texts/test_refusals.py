"""What is wrong is refused, in words that say what to do, and what is incomplete is said to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from facegate.cli.files import check_writable
from facegate.console.processes.config_file import ConfigFile
from facegate.errors import ConfigError, FacegateError, ModelError
from facegate.evaluation.savings import load_labels
from facegate.pipeline.config import build_config
from facegate.pipeline.observability.exposition import MetricsServer
from facegate.pipeline.plurals import count
from facegate.scoring.families import read_card

from ..helpers import facegate

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "fixtures" / "recording-4.rec"
CARD = ROOT / "scoring" / "cards" / "cvlface-vit-base.yaml"
TWICE = "cameras:\n  - name: door\n    source: x.mp4\n    rotate: 90\n    rotate: 180\n"


def test_a_key_that_occurs_twice_is_refused_in_every_file(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(TWICE)
    done = facegate("run", config)
    assert done.returncode == 2 and done.stderr == (
        f"facegate: {config} is not valid YAML near line 5: the key 'rotate' occurs twice in one section; "
        "remove one of them\n"
    )
    found = ConfigFile(config).version()  # of the console, which uses another parser
    assert found.problem is not None and "line 5: the key 'rotate' occurs twice" in found.problem
    card = tmp_path / "card.yaml"
    text = CARD.read_text()
    card.write_text(text + text.splitlines()[0] + "\n")
    with pytest.raises(ModelError, match=r"found duplicate key .* in line \d+"):
        read_card(str(card))
    card.write_text("visits: []\nvisits: []\n")
    with pytest.raises(ConfigError, match='found duplicate key "visits" in line 2'):
        load_labels(card)


def test_equal_values_and_aliases_are_no_equal_keys(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("cameras:\n- &a {name: a, source: x.mp4}\n- {<<: *a, name: b}\n- {<<: *a, name: c}\n")
    config = ConfigFile(path).version().config
    assert config is not None and [camera.name for camera in config.cameras] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"cameras": ["door", "Door"]}, "camera names must be unique, but 'Door' and 'door' differ only in case"),
        ({"cameras": ["door", "door"]}, "camera names must be unique, but 'door' occurs twice"),
        (
            {"delivery": {"outputs": [{"kind": "webhook", "spool": "s"}]}},
            "an output of kind 'webhook' needs 'url'",
        ),
        (
            {"delivery": {"outputs": [{"kind": "webhook", "path": "x", "spool": "s"}]}},
            "takes 'url', not 'path'",
        ),
    ],
)
def test_a_wrong_configuration_is_described(section: dict[str, object], words: str) -> None:
    names = section.pop("cameras", ["a"])
    assert isinstance(names, list)
    with pytest.raises(ConfigError) as caught:
        build_config({"cameras": [{"name": name, "source": "x"} for name in names], **section})
    assert words in str(caught.value)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    """Each line says what is wrong with which value, and the help is that of the command."""
    photo, gallery = tmp_path / "photo.jpg", tmp_path / "people.db"
    photo.write_bytes(b"x")
    for arguments, code, words in (
        (("gallery", "add", gallery, photo), 2, f"{photo} is a file, but --name is missing: give one folder"),
        (("gallery", "add", gallery, tmp_path / "no"), 2, f"{tmp_path / 'no'} does not exist: give one folder"),
        (("gallery", "list", tmp_path), 1, f"{tmp_path} is a folder: give a gallery file such as people.db"),
        (("gallery", "show"), 2, "(see facegate gallery show --help)"),
        (("run",), 2, "facegate: SOURCE is missing: give a source, or --fleet (see facegate run --help)"),
        (("run", "x.mp4", "--gate", "left"), 2, "--gate needs --fleet: it describes a node of a fleet"),
        (("run", "x.mp4", "--max-cameras", "3"), 2, "--max-cameras needs --fleet"),
        (("probe", ""), 2, "SOURCE is empty: give a stream URL"),
        (("probe", "rtsp://127.0.0.1:99999/x"), 2, "give HOST:PORT, the port from 1 to 65535"),
        (("models", "verify", tmp_path / "no.pt"), 1, f"cannot read {tmp_path / 'no.pt'}: no such file"),
        (("demo", "--embedder", "nope"), 2, "nope"),
    ):
        done = facegate(*arguments)
        assert done.returncode == code and words in done.stderr, done
        assert len(done.stderr.splitlines()) == 1, done


def test_an_address_without_a_port_is_no_address() -> None:
    for bind in ("foo", "127.0.0.1:x", ":99999"):
        with pytest.raises(ConfigError, match=f"--metrics {bind} is not an address: give HOST:PORT"):
            MetricsServer(bind, lambda: (True, b""))


def test_a_file_to_write_is_not_a_folder_and_is_in_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a folder; give the name of a file in it"):
        check_writable(tmp_path)
    with pytest.raises(FacegateError, match="there is no folder"):
        check_writable(tmp_path / "no" / "x.html")


def test_a_cut_recording_is_said_to_be_incomplete(tmp_path: Path) -> None:
    whole = RECORDING.read_bytes()
    cut = tmp_path / "half.rec"
    cut.write_bytes(whole[: len(whole) // 2])
    for command in ("replay", "explain"):
        done = facegate(command, cut, *(["--to", tmp_path / "x.html"] if command == "explain" else []))
        assert done.returncode == 0 and "the recording is incomplete" in done.stderr and str(cut) in done.stderr
    assert facegate("replay", RECORDING).stderr == ""


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "face", "1 face"),
        (0, "face", "0 faces"),
        (2, "picture of Ann", "2 pictures of Ann"),
        (1, "picture of Ann", "1 picture of Ann"),
    ],
)
def test_numbers_have_their_noun_in_the_right_form(number: int, noun: str, text: str) -> None:
    assert count(number, noun) == text


def test_an_interrupt_while_modules_are_imported_is_quiet() -> None:
    """The signal arrives at the first import of the commands."""
    program = (
        "import importlib.abc, os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what a shell starts with &
        "class Interrupting(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'facegate.cli.commands': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "runpy.run_module('facegate', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130 and done.stderr == ""


def test_the_rtsp_server_names_a_file_that_it_cannot_serve(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.mp4", "no such file"), (CARD, "invalid data")):
        command = [sys.executable, "-m", "facegate.demo.rtsp.server", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
        assert str(path) in done.stderr and words in done.stderr and "give a file with H.264" in done.stderr
