"""Builds each camera's identity guard and gate from the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from facegate.errors import ConfigError, os_errors, os_reason
from facegate.paths import replacing
from facegate.pipeline.config import GateConfig, RunConfig
from facegate.pipeline.gating.gate import Decision, GatePolicy
from facegate.pipeline.gating.limits import FaceLimits, GateSettings
from facegate.pipeline.gating.policies import RecentPeople
from facegate.pipeline.gating.recall_threshold import RecallSettings, RecallState, RecallThreshold
from facegate.pipeline.gating.scoring_scheduler import ScoringScheduler
from facegate.pipeline.records import (
    FeedbackBatch,
    PeerSighting,
    QualityInfo,
    RecognitionFeedback,
    ScoredFrame,
    TrackEnd,
)
from facegate.pipeline.tracking.identity import IdentityThresholds
from facegate.pipeline.tracking.identity_switches import IdentitySwitchGuard

log = structlog.get_logger(__name__)


class LearnedState(msgspec.Struct, frozen=True):
    """Learned state of a camera, for the next run or node."""

    recall: RecallState | None = None
    gray_recall: RecallState | None = None
    """Of pictures without color."""


GRAY = "@gray"
"""Suffix of a camera's name under which the state of its pictures without color is kept; no name contains an @."""


class FleetPeers(Protocol):
    """Other nodes of a fleet: they share sightings of a group, and may take over cameras."""

    def on_sighting(self, group: str, embedding: NDArray[np.float32], at_s: float) -> None:
        """A person was forwarded: unit embedding ``(D,)`` and monotonic time of this host."""
        ...

    def on_learned_state(self, camera: str, learned: LearnedState) -> None:
        """The learned state of a camera has changed."""
        ...


class StepResult(msgspec.Struct, frozen=True):
    """Decisions of one step of a camera's gate."""

    now: float
    """Media time of the camera's last frame."""
    decisions: list[Decision]
    ended_tracks: list[TrackEnd]
    """Tracks that will send no more shots."""


class GateFactory:
    """Makes each camera's guard and gate, and holds what cameras share or what is kept between runs."""

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        quality_info: QualityInfo,
        people: IdentityThresholds | None,
        learned: dict[str, RecallState] | None = None,
    ) -> None:
        """Take the configuration; ``learned``: initial states of a recording, used instead of those on disk."""
        self.run_id, self._info, self._people = run_id, quality_info, people
        self._settings: dict[str, GateConfig] = {}
        self._groups: dict[str, RecentPeople] = {}
        self._recall: dict[str, RecallThreshold] = {}
        self._saved: dict[str, RecallState] = {}
        """States as last saved to disk."""
        self._learned = learned
        self._restored: dict[str, LearnedState] = {}
        self._peers: FleetPeers | None = None
        self.configure(config)

    def configure(self, config: RunConfig, learned: dict[str, RecallState] | None = None) -> None:
        """Use another configuration for gates made from now on; ``learned`` as above.

        A camera that is not in it keeps its settings: its last frames may still be in the pipeline.
        """
        if learned is not None:
            self._learned = (self._learned or {}) | learned
        self._settings |= {camera.name: config.gate_for(camera.name) for camera in config.cameras}

    def connect_peers(self, outside: FleetPeers) -> None:
        """Report sightings and learned states to other nodes."""
        self._peers = outside

    def restore(self, learned: Mapping[str, LearnedState]) -> None:
        """Set the initial states of cameras taken over from other nodes."""
        self._restored |= learned

    def add_sighting(self, sighting: PeerSighting) -> None:
        """Take a person who was forwarded by another node."""
        # By the configuration, not by which cameras have sent frames: recordings omit frames without faces.
        identity = next(
            (gate.identity for gate in self._settings.values() if gate.identity.group == sighting.group), None
        )
        if identity is not None and self._people is not None:
            self._group(sighting.group, identity.group_s, self._people).add_embedding(
                np.frombuffer(sighting.embedding, "<f4"), sighting.at_s
            )

    def settings(self, camera: str) -> GateConfig:
        """Return the camera's gate settings; of a removed camera the last ones."""
        return self._settings[camera]

    def identity_guard(self, camera: str, first_id: int = 0) -> IdentitySwitchGuard:
        """Return a new identity guard of the camera; its track ids start at ``first_id``."""
        gate = self.settings(camera)
        people = self._people if gate.identity.split_identity_switches else None
        merge_s = 0.0 if people is None else gate.identity.merge_s
        return IdentitySwitchGuard(people, reliable=gate.min_quality, merge_s=merge_s, first_id=first_id)

    def track_gate(self, camera: str) -> GatePolicy:
        """Return a new gate of the camera.

        Raises:
            ConfigError: ``cooldown_s`` or ``group`` with a model whose embedding does not distinguish people.
        """
        gate = self.settings(camera)
        identity = gate.identity
        if self._people is None and (identity.cooldown_s or identity.group):
            raise ConfigError(
                f"camera {camera}: the model's embedding does not distinguish people: remove cooldown_s and group, "
                "or use a model whose card has 'people'"
            )
        recent = group = None
        if self._people is not None:
            same = self._people.same_above
            recent = RecentPeople(identity.cooldown_s, same) if identity.cooldown_s else None
            if identity.group:
                group = self._group(identity.group, identity.group_s, self._people)
        settings = gate_settings(gate)
        return GatePolicy(
            self.run_id, camera, settings, self._info,
            recent=recent, group=group, recall=self._recall_threshold(camera, gate),
            gray_recall=self._recall_threshold(camera + GRAY, gate),
        )  # fmt: skip

    def scoring_scheduler(self, camera: str, *, everything: bool) -> ScoringScheduler:
        """Return a new scoring scheduler of the camera."""
        return ScoringScheduler(gate_settings(self.settings(camera)), self.run_id, everything=everything)

    def save(self) -> None:
        """Save the learned thresholds for the next run."""
        for camera in {key.removesuffix(GRAY) for key in self._recall}:
            self.save_learned(camera)

    def _group(self, name: str, group_s: float, people: IdentityThresholds) -> RecentPeople:
        def on_sighting(unit: NDArray[np.float32], at_s: float) -> None:
            if self._peers is not None:
                self._peers.on_sighting(name, unit, at_s)

        if name not in self._groups:
            self._groups[name] = RecentPeople(group_s, people.same_above, on_sighting)
        return self._groups[name]

    def save_learned(self, camera: str) -> None:
        """Publish the learned state of a camera, and save it if ``gate.state`` is set and it has changed."""
        self._publish_learned(camera)
        folder = self.settings(camera).state
        for key in (camera, camera + GRAY):
            threshold = self._recall.get(key)
            if folder is not None and threshold is not None and self._learned is None:
                state = threshold.state()
                if state != self._saved.get(key) and (state.best or state.recent):
                    _try_to_write(_learned_file(folder, key, self._info), state)
                    self._saved[key] = state

    def _publish_learned(self, camera: str) -> None:
        threshold, gray = self._recall.get(camera), self._recall.get(camera + GRAY)
        if self._peers is not None and threshold is not None and gray is not None:
            self._restored[camera] = LearnedState(threshold.state(), gray.state())
            self._peers.on_learned_state(camera, self._restored[camera])

    def initial_states(self) -> dict[str, RecallState]:
        """Return the initial state of each camera with ``target_recall``, that of gray pictures under ``@gray``."""
        found = {
            key: self._state(key, gate)
            for camera, gate in self._settings.items()
            if gate.target_recall
            for key in (camera, camera + GRAY)
        }
        return {camera: state for camera, state in found.items() if state is not None}

    def _state(self, key: str, gate: GateConfig) -> RecallState | None:
        if self._learned is not None:
            return self._learned.get(key)
        handed = self._restored.get(key.removesuffix(GRAY), LearnedState())
        state = handed.gray_recall if key.endswith(GRAY) else handed.recall
        if state is not None:
            return state
        path = None if gate.state is None else _learned_file(gate.state, key, self._info)
        if path is None or not path.is_file():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=RecallState)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not a learned threshold: remove it to learn from the start") from error

    def _recall_threshold(self, key: str, gate: GateConfig) -> RecallThreshold | None:
        if gate.target_recall is None:
            return None
        settings = RecallSettings(
            target_recall=gate.target_recall,
            exploration_rate=gate.exploration_rate,
            floor=gate.min_quality
            if gate.gray_min_quality is None or not key.endswith(GRAY)
            else gate.gray_min_quality,
            max_threshold=gate.max_threshold,
        )
        threshold = RecallThreshold(settings, self.run_id, key, self._state(key, gate))
        self._recall[key] = threshold
        return threshold


def _write(path: Path, state: RecallState) -> None:
    """Replace the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(msgspec.json.encode(state))


def _try_to_write(path: Path, state: RecallState) -> None:
    """A full disk loses the learned state, not the camera."""
    try:
        _write(path, state)
    except OSError as error:
        log.error("cannot save the learned threshold", file=str(path), reason=os_reason(error))


def write_learned_state(folder: Path, camera: str, info: QualityInfo, state: RecallState) -> None:
    """Save the initial state of a camera, replacing an existing one.

    Raises:
        ConfigError: it cannot be written.
    """
    path = _learned_file(folder, camera, info)
    with os_errors(ConfigError, f"cannot write {path}"):
        _write(path, state)


def _learned_file(folder: Path, camera: str, info: QualityInfo) -> Path:
    """Path of a camera's state; each model and calibration has its own, since qualities are not comparable."""
    what = f"{info.algorithm}/{info.model}/{info.calibration}"
    return folder / f"{camera}.{hashlib.sha256(what.encode()).hexdigest()[:8]}.keep.json"


def gate_settings(gate: GateConfig) -> GateSettings:
    """Return the settings of a gate without pydantic."""
    fields = gate.model_dump(include=set(GateSettings.__struct_fields__) - {"limits"})
    return GateSettings(**fields, limits=FaceLimits(**gate.limits.model_dump()))


class CameraGate:
    """Identity guard and gate of one camera: from scored frames to decisions."""

    def __init__(self, gates: GateFactory, camera: str, *, first_id: int = 0) -> None:
        self._run_id, self._camera = gates.run_id, camera
        self._with_shots: set[int] = set()
        """Tracks that have sent shots."""
        self._ended: set[int] = set()
        """Those of them that have ended; some may be held for feedback."""
        self._now = 0.0
        self.guard = gates.identity_guard(camera, first_id)
        self.gate = gates.track_gate(camera)
        self.ended = False

    def step(self, frame: ScoredFrame) -> StepResult:
        """Take the camera's next frame."""
        self._now = frame.frame.pts_s
        guarded = self.guard.step(frame)
        decisions = self.gate.step(guarded)
        ended = set(guarded.ended)
        if frame.last:
            self.ended = True
            decisions += self.gate.finish(frame.frame.pts_s)
        self._with_shots |= {decision.shot.track_id for decision in decisions if decision.shot is not None}
        self._ended |= self._with_shots if frame.last else self._with_shots & ended
        return self._result(decisions)

    def on_feedback(self, answer: RecognitionFeedback) -> StepResult:
        """Take recognition feedback on a shot of this camera."""
        return self._result(self.gate.on_feedback(answer))

    def settle_pending(self) -> StepResult:
        """Settle held tracks without waiting for feedback."""
        return self._result(self.gate.settle_pending())

    def is_conclusive(self) -> frozenset[int]:
        """Tracks of the tracker that send no more shots, because their recognition is conclusive."""
        present = self.guard.current_people().items()
        return frozenset(track for track, person in present if self.gate.is_conclusive(person))

    def live(self) -> tuple[int, ...]:
        """Tracks that have sent shots and may send more."""
        return tuple(sorted(self._with_shots))

    @property
    def awaits_feedback(self) -> bool:
        """Whether ended tracks are held for feedback."""
        return any(self.gate.is_held(track_id) for track_id in self._ended)

    def _result(self, decisions: list[Decision]) -> StepResult:
        over = {track_id for track_id in self._ended if not self.gate.is_held(track_id)}
        self._ended, self._with_shots = self._ended - over, self._with_shots - over
        ends = [TrackEnd(self._run_id, self._camera, track_id, self._now) for track_id in sorted(over)]
        return StepResult(self._now, decisions, ends)


class CameraGates:
    """The gates of all cameras of a run, live or replayed."""

    def __init__(self, gates: GateFactory) -> None:
        self._gates = gates
        self._feedback_expected = False
        self.cameras: dict[str, CameraGate] = {}
        """Gates of the cameras that have sent a frame."""

    def step(self, frame: ScoredFrame) -> Iterator[StepResult]:
        """Take a camera's next frame; yield the decisions it causes."""
        camera = frame.frame.camera
        decider = self.cameras.get(camera)
        if decider is None or decider.ended:
            # A camera whose configuration was changed starts again under its name; its track ids continue.
            if decider is not None:
                yield decider.settle_pending()
            first_id = 0 if decider is None else decider.guard.next_id
            decider = self.cameras[camera] = CameraGate(self._gates, camera, first_id=first_id)
            decider.gate.set_feedback_expected(self._feedback_expected)
        yield decider.step(frame)

    def on_feedback(self, answers: FeedbackBatch) -> Iterator[StepResult]:
        """Take recognition feedback and sightings; feedback on unknown shots is ignored."""
        if answers.expected != self._feedback_expected:
            self._feedback_expected = answers.expected
            for decider in self.cameras.values():
                decider.gate.set_feedback_expected(answers.expected)
        for sighting in answers.sightings:
            self._gates.add_sighting(sighting)
        for answer in answers.items:
            for decider in self.cameras.values():
                if decider.gate.awaits_feedback(answer.shot_id):
                    yield decider.on_feedback(answer)

    def settle_pending(self) -> Iterator[StepResult]:
        """Settle held tracks without waiting for feedback."""
        for decider in self.cameras.values():
            yield decider.settle_pending()

    @property
    def awaits_feedback(self) -> bool:
        """Whether feedback alone could cause more shots."""
        return any(decider.awaits_feedback for decider in self.cameras.values())
