"""One name per visit: early, confirmed, kept, and told when it changes."""

from __future__ import annotations

import io
import json
from itertools import count
from threading import Event, Thread
from time import monotonic, sleep

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.records import Floats, TrackEnd
from facegate.recognition.embedders import load_embedder
from facegate.recognition.matching.gallery import FixedSimilarity, Gallery
from facegate.recognition.working.visits import IDLE_S, LATE_S, VisitEvent, Visits
from facegate.recognition.working.worker import Recognizer, Worker
from facegate.sinks import wire
from facegate.sinks.wire import Ended, ShotHeader
from facegate.sinks.zeromq import ZmqSink

from ..sinks.test_wire import entries, make_shot
from ..sinks.test_zeromq import peers

NAMES = ["ann", "bob", "eve"]
GALLERY = Gallery(NAMES, np.eye(3, 4, dtype=np.float32))
RULE = FixedSimilarity(0.6)


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
    assert visits.over(2.0) == []
    first = header()
    visits.ended(Ended(first.run_id, first.camera, 1, 2.0), 2.0)
    assert visits.over(2.0) == [], "a shot may be late"
    (end,) = visits.over(2.0 + LATE_S)
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
    take(visits, header(2), towards(1), IDLE_S / 2)
    assert told(visits.over(IDLE_S)) == [("ended", None)]
    assert told(visits.over(2 * IDLE_S)) == [("ended", "ann")]


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
    worker = Worker([gate.endpoint], Recognizer(lambda: gallery, model, FixedSimilarity(0.9), output))
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
        thread.join(20)
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
            assert wire.decode(body, wire.Ended) == wire.Ended(shot.run_id, shot.camera, shot.track_id, 9.0)
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
        assert visits.standing(shot) == (False, False)
        take(visits, shot, vector, 0.0)
        assert visits.standing(shot) == standing


def test_a_poor_shot_does_not_make_a_stranger_of_somebody_who_is_nearly_named() -> None:
    visits = Visits(lambda: GALLERY, RULE)
    take(visits, header(), towards(0.5, 0, 0, 0.87), 0.0)
    take(visits, header(quality=1), towards(0, 0, 0, -1), 0.0)
    assert visits.standing(header()) == (False, False), "another shot may still name it"
    (end,) = visits.finish()
    assert end.name is None and end.similarity > 0.49
