"""Limits the threads of the numeric libraries.

Stages run in parallel, so each gets its share of the cores. OpenMP spins while waiting by default, which starves
other threads on a busy machine; the policy must be set before torch is imported.
"""

from __future__ import annotations

import os


def set_wait_policy() -> None:
    """Let idle OpenMP threads sleep. Has an effect only before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def share_cores(stages: int = 2) -> None:
    """Give each of ``stages`` busy stages (detection and scoring) an equal share of this process's cores."""
    from facegate.cpu import cores, limit_threads

    limit_threads(max(1, cores() // stages))
