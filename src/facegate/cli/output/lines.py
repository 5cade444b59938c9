"""Results on stdout: indented JSON, and one line per problem of a gallery."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from facegate.recognition.enrollment.checks import Fault


def print_json(found: object) -> None:
    """Print a record, or a list of records, as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


def print_faults(faults: Sequence[Fault]) -> None:
    """Print each problem of a gallery with its remedy."""
    for fault in faults:
        where = "" if fault.source is None else f": {fault.source}"
        sys.stdout.write(f"{fault.person}{where}: {fault.reason}; {fault.remedy}\n")
