"""Verify a visit's evidence, downloaded from a console: finds every changed, missing or added byte.

    python verify_evidence.py evidence-<sha256>.zip
    python verify_evidence.py renamed.zip --sha256 <sha256>

Needs Python only. The SHA-256 is that of ``evidence.json``; the console put it into the name of the file. Keep it
apart from the file, for example in the minutes of the handover: whoever can replace both can forge both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path


def problems(path: Path, sha256: str | None) -> list[str]:
    """What is wrong with a file; nothing if it is as the console made it."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
            content = {name: packed.read(name) for name in names}
        document = content.pop("evidence.json")
        hashes = json.loads(document)["sha256"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        return [f"the file is damaged: {error}"]
    found = [f"{name} occurs twice" for name in set(names) if names.count(name) > 1]
    if sha256 is None:
        found.append("evidence.json cannot be verified: give --sha256")
    elif hashlib.sha256(document).hexdigest() != sha256.lower():
        found.append("evidence.json was changed")
    for name in sorted(hashes.keys() | content.keys()):
        if name not in content:
            found.append(f"{name} is missing")
        elif hashlib.sha256(content[name]).hexdigest() != hashes.get(name):
            found.append(f"{name} was {'changed' if name in hashes else 'added'}")
    return found


def main() -> int:
    """Return 0 if the evidence is whole, else 1."""
    parser = argparse.ArgumentParser(description="Verify a visit's evidence.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sha256", help="SHA-256 of evidence.json; from the name of the file by default")
    arguments = parser.parse_args()
    named = re.search(r"evidence-([0-9a-f]{64})", arguments.file.name)
    found = problems(arguments.file, arguments.sha256 or (named[1] if named else None))
    for each in found:
        sys.stderr.write(f"{each}\n")
    sys.stdout.write("NOT verified\n" if found else "verified: nothing was changed\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
