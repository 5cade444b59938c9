"""One name per visit: early, confirmed, kept, and told when it changes."""

from __future__ import annotations

import io
import json
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.records import Floats, LiveTracks, TrackEnd
from facegate.recognition.embedders import load_embedder
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.open_visits import claim_visits
from facegate.recognition.worker.visits import (
    LATE_SHOT_GRACE_S,
    SILENT_S,
    SPOOLED_SHOT_TIMEOUT_S,
    VISIT_TIMEOUT_S,
    VisitEvent,
    Visits,
)
from facegate.recognition.worker.zmq_worker import Recognizer, Worker
from facegate.sinks import wire
from facegate.sinks.base import live_messages
from facegate.sinks.wire import LiveTracksMessage, ShotHeader, TrackEnded
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S
from ..sinks.test_wire import entries, make_shot
from ..sinks.test_zeromq import peers

NAMES = ["ann", "bob", "eve"]
GALLERY = Gallery(NAMES, np.eye(3, 4, dtype=np.float32))
RULE = FixedThresholdRule(0.6)


def towards(*parts: float) -> Floats:
    vector = np.array([*parts, 0, 0, 0, 0][:4], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


NUMBERS = count()


def header(track: int = 1, pts_s: float = 0.0, quality: int = 80) -> ShotHeader:
    made = wire.decode_header(wire.pack(make_shot(1)).header)
    block = msgspec.structs.replace(made.quality, value=quality)
    shot_id = f"{next(NUMBERS):032x}"
    return msgspec.structs.replace(made, shot_id=shot_id, track_id=track, pts_s=pts_s, quality=block)


def take(visits: Visits, shot: ShotHeader, vector: Floats, now: float) -> list[VisitEvent]:
    return visits.shot(shot, vector, GALLERY.match(vector, RULE), now)


def told(events: list[VisitEvent]) -> list[tuple[str, str | None]]:
    return [(event.event, event.name) for event in events]


def test_a_name_comes_at_once_and_the_visit_ends_with_it() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    assert told(take(visits, header(), towards(1, 0.2), 0.0)) == [("seen", None), ("named", "ann")]
    assert take(visits, header(pts_s=1.5), towards(1, 0, 0.3), 1.0) == []
    assert visits.expire(2.0) == []
    first = header()
    visits.ended(TrackEnded(first.run_id, first.camera, 1, 2.0), 2.0)
    assert visits.expire(2.0) == [], "a shot may be late"
    (end,) = visits.expire(2.0 + LATE_SHOT_GRACE_S)
    assert (end.event, end.name, end.shots, end.last_pts_s) == ("ended", "ann", 2, 1.5)
    assert visits.finish() == []


def test_poor_shots_that_agree_give_a_name_together_and_never_take_one_away() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    assert told(take(visits, header(), towards(0.55, 0, 0, 0.83), 0.0)) == [("seen", None)]
    assert told(take(visits, header(), towards(0.55, 0, 0, -0.83), 0.0)) == [("named", "ann")]
    for _ in range(5):
        assert take(visits, header(quality=5), towards(0, 0, 0, 1), 0.0) == []
    assert told(visits.finish()) == [("ended", "ann")]


def test_two_answers_for_one_visit_are_told_as_such() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(), towards(0.7, 0.6, 0, 0.3), 0.0)
    (event,) = take(visits, header(quality=99), towards(0, 1), 1.0)
    assert (event.event, event.name, event.before) == ("changed", "bob", "ann")
    assert told(visits.finish()) == [("ended", "bob")]


def test_a_visit_that_nobody_ends_is_over_after_a_while() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(1), towards(0, 0, 0, 1), 0.0)
    take(visits, header(2), towards(1), VISIT_TIMEOUT_S / 2)
    assert told(visits.expire(VISIT_TIMEOUT_S)) == [("ended", None)]
    assert told(visits.expire(2 * VISIT_TIMEOUT_S)) == [("ended", "ann")]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 100),
            st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda v: max(map(abs, v)) > 0.1),
        ),
        max_size=30,
    )
)
def test_every_visit_is_seen_once_ended_once_and_its_names_only_get_better(
    shots: list[tuple[int, int, list[float]]],
) -> None:
    visits, events = Visits(lambda: GALLERY, RULE), list[VisitEvent]()
    for index, (track, quality, vector) in enumerate(shots):
        events += take(visits, header(track, float(index), quality), towards(*vector), float(index))
    events += visits.finish()
    for track in {track for track, _, _ in shots}:
        own = [event for event in events if event.track_id == track]
        assert [own[0].event, own[-1].event] == ["seen", "ended"]
        names = [event for event in own if event.event in ("named", "changed")]
        assert [event.event for event in names] == ["named", *["changed"] * (len(names) - 1)][: len(names)]
        similarities = [event.similarity for event in names]
        assert similarities == sorted(similarities)
        assert own[-1].name == (names[-1].name if names else None)
        assert own[-1].shots == sum(track == other for other, _, _ in shots)


def test_the_gate_tells_its_workers_that_a_track_has_ended() -> None:
    output, gate, stop = io.StringIO(), ZmqSink("tcp://127.0.0.1:*"), Event()
    model = load_embedder("builtin")
    gallery = Gallery(["one"], model.embed([make_shot(1).crop]))
    worker = Worker([gate.endpoint], Recognizer(lambda: gallery, model, FixedThresholdRule(0.9), output))
    thread = Thread(target=worker.run, args=(stop,))
    thread.start()
    shot, give_up = make_shot(1), monotonic() + 20
    try:
        gate.put(entries(1))
        gate.ended([TrackEnd(shot.run_id, shot.camera, shot.track_id, 9.0)])
        while '"ended"' not in output.getvalue() and monotonic() < give_up:
            sleep(0.05)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        gate.close(5.0)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["shot", "seen", "named", "ended"]
    assert lines[-1]["name"] == "one" and lines[-1]["visit"] == f"{shot.run_id}/{shot.camera}/{shot.track_id}"


def test_ends_come_after_the_last_receipt_and_to_those_alone_who_asked() -> None:
    gate, shot = ZmqSink("tcp://127.0.0.1:*"), make_shot(1)
    try:
        with peers(gate.endpoint, 2) as (old, new):
            old.ready(4)
            gate.put(entries(1))
            shot_id = old.shot()
            new.socket.send_multipart([wire.READY, wire.encode(wire.Ready(4, visits=True))])
            gate.ended([TrackEnd(shot.run_id, shot.camera, shot.track_id, 9.0)])
            assert not new.has_mail(300), "not while somebody has a shot of it"
            old.ack(shot_id)
            kind, body = new.socket.recv_multipart()
            assert kind == wire.ENDED
            assert wire.decode(body, wire.TrackEnded) == wire.TrackEnded(
                shot.run_id, shot.camera, shot.track_id, 9.0
            )
            assert not old.has_mail(300)
    finally:
        gate.abort()
        gate.close(0.0)


def test_the_gate_is_told_whether_more_shots_would_change_anything() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    for track, (quality, vector, standing) in enumerate(
        [
            (80, towards(1, 0.2), (True, True)),
            (80, towards(0.61, 0, 0, 0.79), (True, False)),
            (80, towards(0.4, 0, 0, 0.91), (False, False)),
            (80, towards(0.1, 0, 0, 0.99), (False, True)),
            (20, towards(0.1, 0, 0, 0.99), (False, False)),
        ]
    ):
        shot = header(track, quality=quality)
        assert visits.status(shot) == (False, False)
        take(visits, shot, vector, 0.0)
        assert visits.status(shot) == standing


def test_a_poor_shot_does_not_make_a_stranger_of_somebody_who_is_nearly_named() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(), towards(0.5, 0, 0, 0.87), 0.0)
    take(visits, header(quality=1), towards(0, 0, 0, -1), 0.0)
    assert visits.status(header()) == (False, False), "another shot may still name it"
    (end,) = visits.finish()
    assert end.name is None and end.similarity > 0.49


def live(*tracks: int, run_id: str = "") -> LiveTracksMessage:
    first = header()
    return LiveTracksMessage(run_id or first.run_id, {first.camera: list(tracks)})


def end_of(track: int) -> TrackEnded:
    first = header()
    return TrackEnded(first.run_id, first.camera, track, 0.0)


def test_a_visit_lives_as_long_as_its_track_however_long_no_shot_comes() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(1), towards(1), 0.0)
    for second in range(1, 600):
        assert visits.live(live(1, 2), float(second)) == [] and visits.expire(float(second)) == []
    visits.live(live(2), 600.0)
    assert visits.expire(600.5) == [], "a shot may be late"
    assert told(visits.expire(600.0 + LATE_SHOT_GRACE_S)) == [("ended", "ann")]


def test_silence_counts_once_the_gate_is_silent_and_what_still_lives_then_goes_on() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    first = take(visits, header(1), towards(1), 0.0)
    visits.live(live(1), 1.0)
    assert visits.expire(SILENT_S) == []
    last = visits.expire(1.0 + SILENT_S)
    assert told(last) == [("ended", "ann")]
    again = visits.live(live(1), 60.0)
    assert told(again) == [("seen", None), ("named", "ann")]
    ids = [event.id for event in first + last + again]
    assert len(set(ids)) == len(ids), "another event has another id"
    assert visits.live(live(1), 61.0) == []
    assert told(visits.finish(62.0)) == [("ended", "ann")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["shot", "live", "gone", "end", "wait", "over", "run", "finish"]), st.integers(1, 3)
        ),
        max_size=40,
    )
)
def test_whatever_comes_late_no_event_has_the_id_of_another(steps: list[tuple[str, int]]) -> None:
    visits, events, now = Visits(lambda: GALLERY, RULE), list[VisitEvent](), 0.0
    run_id = header().run_id
    for kind, track in steps:
        now += 0.5
        if kind == "shot":
            events += take(visits, header(track), towards(*([1.0] if track > 1 else [0.1, 0, 0, 1.0])), now)
        elif kind in ("live", "gone"):
            events += visits.live(live(*([track] if kind == "live" else [])), now)
        elif kind == "end":
            visits.ended(end_of(track), now)
        elif kind == "run":
            visits.run_over(run_id, now)
        elif kind == "finish":
            events += visits.finish(now)
        else:
            now += {"wait": 20.0, "over": 1.0}[kind]
            events += visits.expire(now)
    events += visits.finish(now)
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)
    for visit in {event.visit for event in events}:
        kinds = [event.event for event in events if event.visit == visit]
        assert kinds[0] == "seen" and kinds[-1] == "ended"
        assert kinds.count("seen") <= kinds.count("ended")


def test_a_late_shot_of_an_ended_track_tells_nothing_unless_it_says_who_it_was() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(1), towards(1), 0.0)
    take(visits, header(2), towards(0.1, 0, 0, 1), 0.0)
    for track in (1, 2):
        visits.ended(end_of(track), 1.0)
    assert told(visits.expire(3.0)) == [("ended", "ann"), ("ended", None)]
    assert take(visits, header(1), towards(1), 4.0) == []
    assert told(take(visits, header(2), towards(0, 1), 4.0)) == [("named", "bob"), ("ended", "bob")]
    assert take(visits, header(2), towards(0, 1), 5.0) == [] and visits.finish(6.0) == []


def test_a_shot_of_a_run_that_is_over_does_not_keep_anybody_present_for_long() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    visits.run_over(header().run_id, 0.0)
    take(visits, header(1), towards(1), 1.0)
    assert visits.expire(1.0 + SPOOLED_SHOT_TIMEOUT_S / 2) == []
    assert told(visits.expire(1.0 + SPOOLED_SHOT_TIMEOUT_S)) == [("ended", "ann")]


def changing() -> tuple[Visits, list[Gallery]]:
    now = [GALLERY]
    return Visits(lambda: now[0], RULE), now


def test_who_is_renamed_removed_or_enrolled_while_in_view_is_told_at_once_and_never_by_the_old_name() -> None:
    visits, now = changing()
    take(visits, header(1), towards(1), 0.0)
    take(visits, header(2), towards(0, 1), 0.0)
    take(visits, header(3), towards(0, 0, 0, 1), 0.0)
    now[0] = Gallery(["Ann Smith", "eve", "new"], np.eye(4, dtype=np.float32)[[0, 2, 3]])
    events = visits.expire(1.0)
    assert [(event.event, event.track_id, event.name, event.before) for event in events] == [
        ("changed", 1, "Ann Smith", None),
        ("changed", 2, None, None),
        ("named", 3, "new", None),
    ]
    assert visits.expire(2.0) == []
    ends = visits.finish(3.0)
    assert [event.name for event in ends] == ["Ann Smith", None, "new"]
    assert not visits.face_is_wanted(ends[1].key) and visits.face_is_wanted(ends[2].key)


def test_what_is_kept_of_visits_is_matched_again_before_anything_is_told(tmp_path: Path) -> None:
    visits, now = changing()
    events = take(visits, header(1), towards(1), 0.0) + take(visits, header(2), towards(0, 1), 0.0)
    file, _, held = claim_visits(tmp_path, ["a"])
    file.save(visits.touched(), events)
    # Killed here; another worker with other outputs does not take its visits, one with the same does.
    held.close()
    other, nothing, others = claim_visits(tmp_path, ["b"])
    assert other.open_ids() == set() and nothing.opened == []
    others.close()
    file, kept, held = claim_visits(tmp_path, ["a"])
    assert [event.id for event in kept.untold] == [event.id for event in events]
    now[0] = Gallery(["Ann Smith"], np.eye(1, 4, dtype=np.float32))
    again = Visits(lambda: now[0], RULE)
    again.resume(kept.opened, kept.ended, 0.0)
    again.live(live(1), 1.0)
    told_now = again.expire(1.0 + LATE_SHOT_GRACE_S)
    assert [(e.event, e.track_id, e.name) for e in told_now] == [
        ("changed", 1, "Ann Smith"),
        ("changed", 2, None),
        ("ended", 2, None),
    ]
    file.save(again.touched())
    assert len(file.open_ids()) == 1
    held.close()


def test_workers_with_the_same_outputs_have_a_file_each_and_inherit_those_of_dead_ones(tmp_path: Path) -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(1), towards(1), 0.0)
    first, _, one = claim_visits(tmp_path, ["a"])
    second, _, two = claim_visits(tmp_path, ["a"])
    second.save(visits.touched())
    assert first.open_ids() == set() and len(second.open_ids()) == 1
    two.close()
    one.close()
    third, kept, three = claim_visits(tmp_path, ["a"])
    assert len(kept.opened) == 1 and len(third.open_ids()) == 1
    three.close()


def test_the_gate_reports_live_tracks_to_those_who_asked_and_lists_what_waits() -> None:
    gate, shot = ZmqSink("tcp://127.0.0.1:*"), make_shot(1)
    try:
        with peers(gate.endpoint, 2) as (old, new):
            gate.live(LiveTracks(shot.run_id, {shot.camera: ()}))
            gate.put(entries(1))
            old.ready(4)
            old.shot()
            new.socket.send_multipart([wire.READY, wire.encode(wire.Ready(4, live=True))])
            gate.ended([TrackEnd(shot.run_id, shot.camera, shot.track_id, 9.0)])
            gate.live(LiveTracks(shot.run_id, {shot.camera: (8,), "back": ()}))
            kind, body = new.socket.recv_multipart()
            assert kind == wire.LIVE
            # Its last shot is not acknowledged: the end was not told, so the track counts as live.
            assert wire.decode(body, LiveTracksMessage).cameras == {shot.camera: [shot.track_id, 8], "back": []}
            assert not old.has_mail(300)
    finally:
        gate.abort()
        gate.close(0.0)


def test_thousands_of_live_tracks_fit_into_few_messages_that_are_accepted() -> None:
    cameras = {f"camera-{number:03}": range(5_000, 5_100) for number in range(400)}
    messages = live_messages("r", cameras)
    assert len(messages) < 6
    found: dict[str, list[int]] = {}
    for message in messages:
        found |= wire.decode(wire.encode(message), LiveTracksMessage).cameras
    assert found == {camera: list(ids) for camera, ids in cameras.items()}
