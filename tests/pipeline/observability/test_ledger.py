"""The ledger: one outcome per face, and it tells when that is not so."""

from __future__ import annotations

import numpy as np
import pytest

from facegate.pipeline.observability.ledger import AccountingError, Ledger
from facegate.pipeline.records import Detection, Face, FrameRef, Outcome


def face(face_id: str, camera: str = "cam") -> Face:
    ref = FrameRef(camera, 0, 0.0, 0.0, None, 10, 10)
    detection = Detection((0, 0, 5, 5), 1.0, np.zeros((5, 2), np.float32))
    return Face(face_id, ref, detection, np.zeros((112, 112, 3), np.uint8))


def test_outcomes_add_up_per_camera_and_in_all() -> None:
    ledger = Ledger()
    for camera, outcome in (("a", Outcome.FORWARDED), ("b", Outcome.SUPERSEDED)):
        ledger.observe(face("1", camera))
        ledger.settle(face("1", camera), outcome)
    ledger.close(interrupted=False)
    assert ledger.observed() == 2 == sum(ledger.outcomes().values())
    assert ledger.outcomes("a") == {"forwarded": 1}


def test_a_second_outcome_is_an_error() -> None:
    ledger = Ledger()
    ledger.observe(face("1"))
    ledger.settle(face("1"), Outcome.FORWARDED)
    with pytest.raises(AccountingError, match="second outcome"):
        ledger.settle(face("1"), Outcome.SUPERSEDED)


def test_a_face_observed_twice_is_an_error() -> None:
    ledger = Ledger()
    ledger.observe(face("1"))
    with pytest.raises(AccountingError, match="twice"):
        ledger.observe(face("1"))


def test_a_regular_end_with_an_undecided_face_is_an_error_and_a_stopped_run_says_stopped() -> None:
    ledger = Ledger()
    ledger.observe(face("1"))
    with pytest.raises(AccountingError, match="1 observed"):
        ledger.close(interrupted=False)
    ledger.close(interrupted=True)
    assert ledger.outcomes() == {"stopped": 1}
