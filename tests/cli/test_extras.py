"""Without an extra: every command that needs it says so in one line, and everything else works."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from facegate.extras import EXTRAS

from ..helpers import ROOT

HIDING = """
import sys
hidden, arguments = sys.argv[1].split(","), sys.argv[2:]
for name in hidden:
    sys.modules[name] = None
from facegate.cli import command
sys.argv = ["facegate", *arguments]
try:
    command()
finally:
    loaded = {"onnxruntime", "torch", "av"} & {name for name, module in sys.modules.items() if module is not None}
    if loaded:
        sys.stdout.write(f"loaded {loaded}")
"""
URL = "nats://127.0.0.1:4222"
CONFIG = "cameras: [{name: door, source: clip.mp4}]\n"
COMMANDS = {
    "demo": ("demo", "serve --demo --data DATA"),
    "dlib": (
        "recognize --embedder dlib",
        "gallery add people.db PICTURES --embedder dlib",
        "gallery check people.db --embedder dlib",
        "try clip.mp4 --gallery people.db --embedder dlib",
        "serve --embedder dlib --data DATA",
        "savings clip.mp4 --gallery people.db --embedder dlib",
        "calibrate clip.mp4 --gallery people.db --embedder dlib",
    ),
    "evaluate": (
        "evaluate people --recognizer a.onnx",
        "savings clip.mp4 --gallery people.db --plot a.png",
        "calibrate clip.mp4 --gallery people.db --plot a.png",
    ),
    "insightface": (
        "recognize --embedder PACK",
        "recognize --detector scrfd",
        "recognize --detector-path PACK",
        "run clip.mp4 --detector scrfd",
        "run scrfd.yaml",
        "score a.jpg --detector scrfd",
        "gallery add people.db PICTURES --detector scrfd",
        "gallery add people.db PICTURES --embedder PACK",
    ),
    "mqtt": ("recognize --publish mqtt://127.0.0.1/x", "run mqtt.yaml"),
    "nats": (
        f"run --fleet {URL}",
        f"serve --fleet {URL} --data DATA",
        f"recognize --connect {URL}",
        f"recognize --publish {URL}",
        "run jetstream.yaml",
        "fleet up site.yaml",
        "fleet apply site.yaml",
        "fleet status",
        "fleet drain left",
        "fleet pause door",
        "fleet history",
    ),
    "openvino": ("run openvino.yaml", "run igpu.yaml"),
    "torch": (
        "models pull cvlface-vit-base",
        "models tune",
        "models export --to a.onnx",
        "run clip.mp4 --weights face.pt",
        "run torch.yaml",
        "run int8.yaml",
        "score a.jpg --weights face.pt",
        "evaluate people --recognizer a.onnx --weights face.pt",
    ),
}
FILES = {
    "scrfd.yaml": "detector: {kind: scrfd}\n",
    "mqtt.yaml": "delivery: {outputs: [{kind: mqtt, url: 'mqtt://127.0.0.1/x', spool: a.spool}]}\n",
    "jetstream.yaml": f"delivery: {{outputs: [{{kind: jetstream, url: '{URL}', spool: b.spool}}]}}\n",
    "openvino.yaml": "scorer: {backend: openvino}\n",
    "torch.yaml": "scorer: {backend: torch}\n",
    "igpu.yaml": "scorer: {device: 'openvino:GPU'}\n",
    "int8.yaml": "scorer: {dtype: int8, backend: onnxruntime}\n",
}
CASES = [(extra, command) for extra, commands in COMMANDS.items() for command in commands]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("extras")
    for name in ("PACK", "PICTURES", "people"):
        (made / name).mkdir()
    for name in ("clip.mp4", "a.jpg", "face.pt", "a.onnx", "people.db"):
        (made / name).write_bytes(b"")
    (made / "site.yaml").write_text(CONFIG)
    for name, content in FILES.items():
        (made / name).write_text(CONFIG + content)
    return made


@pytest.mark.parametrize(("extra", "command"), CASES, ids=[command for _, command in CASES])
def test_a_command_says_which_extra_it_needs(extra: str, command: str, folder: Path) -> None:
    done = run_without(EXTRAS[extra], command.split(), folder)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf"facegate: [^\n]+ needs [\w., ]+, not installed here: pip install 'facegate\[{extra}\]'\n", done.stderr
    ), done.stderr
    assert not done.stdout, "checked before anything is loaded"


def run_without(modules: tuple[str, ...], command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    hidden = ",".join(module.split(".")[0] for module in modules)
    return subprocess.run(
        [sys.executable, "-c", HIDING, hidden, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_extra_is_checked_and_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"all", "dev"}
    assert set(EXTRAS) == set(COMMANDS) | {"large", "fleet", "heif", "notify"}, (
        "'large' is optional; 'fleet' is 'nats' with a server; a picture asks for 'heif', a page for 'notify'"
    )
    (whole,) = declared["all"]
    assert set(re.findall(r"\w+", whole)) - {"facegate"} == set(EXTRAS) - {"demo"}


CORE = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
import facegate
import facegate.cli.app, facegate.console.server, facegate.fleet.node, facegate.pipeline.runner
import facegate.recognition.worker.zmq_worker, facegate.recognition.loading, facegate.demo.run
import facegate.maintenance.doctor, facegate.evaluation.savings
"""


def test_everything_but_the_extras_is_imported_without_them(tmp_path: Path) -> None:
    hidden = {module.split(".")[0] for modules in EXTRAS.values() for module in modules}
    command = [sys.executable, "-c", CORE, ",".join(hidden)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
