"""Every answer of the API is what its OpenAPI description says, whatever it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .serving import served

EXCLUDED = (
    "/cameras/{name}/snapshot.jpg",
    "/live",
    "/events",
    "/config/load",
    "/config/undo",
    "/cameras/probe",
    "/cameras/discover",
    "/people/{name}/camera",
    "/gallery/faults",
    "/unknowns",
)
"""Streams and binary answers, and what takes seconds each time; they have tests of their own."""


def test_answers_are_as_described(tmp_path: Path) -> None:
    paths = [option for path in EXCLUDED for option in ("--exclude-path", "/api/v1" + path)]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with served(tmp_path / "data") as console:
        schema = f"{console.url}/api/v1/openapi.json"
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    "run",
                    schema,
                    "--url",
                    console.url,
                    "--checks",
                    checks,
                ),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1", "--mode", "all"),
                *("--continue-on-failure", "--generation-database", "none", *paths),
            ],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
            cwd=tmp_path,
        )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stderr[-2000:]
