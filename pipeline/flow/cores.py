"""How many threads the numeric libraries may use.

Stages already run in parallel, so each gets its share of the cores. OpenMP's default is to spin while waiting,
which starves the neighbors on a busy machine; it must be told before torch is imported.
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
