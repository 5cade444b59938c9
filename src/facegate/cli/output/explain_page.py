"""Self-contained page with the decisions about each track."""

from __future__ import annotations

import base64
from collections import Counter
from html import escape

import cv2
import msgspec

from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.observability.heatmap import heatmap
from facegate.pipeline.plurals import count
from facegate.pipeline.quality.explain import reasons_of
from facegate.pipeline.records import Image, Outcome, QualityInfo, ScoredFace

WIDTH, HEIGHT = 640, 150
MAX_TRACKS = 500
SKIPPED = "#8c959f"
COLORS = {
    Outcome.FORWARDED: "#0a7d33",
    Outcome.SHADOW: "#7a3fb3",
    Outcome.DRY_RUN: "#0a7d33",
    Outcome.SUPERSEDED: "#5b8dd6",
    Outcome.BELOW_THRESHOLD: "#c9382b",
    Outcome.NOT_NEEDED: SKIPPED,
    Outcome.NOT_SCORED: SKIPPED,
}
OTHER = "#d08a1e"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1080px;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem} h2{font-size:1.05rem;margin:1.8rem 0 .4rem} .note{color:#57606a}
.track{display:flex;gap:1rem;align-items:flex-start;flex-wrap:wrap;border-top:1px solid #d8dee4;padding:.6rem 0}
figure{margin:0;text-align:center;font-size:12px;color:#57606a} figure img{display:block;border-radius:4px}
table{border-collapse:collapse;font-size:13px}
td,th{padding:.15rem .6rem;text-align:left;border-bottom:1px solid #eaeef2}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%}
.shots{display:flex;gap:.6rem;flex-wrap:wrap} svg{background:#f6f8fa;border-radius:4px;max-width:100%}
"""


class TrackHistory(msgspec.Struct):
    """All decisions about one track."""

    camera: str
    track_id: int
    decisions: list[tuple[float, Decision]]


def collect(decisions: list[tuple[float, Decision]]) -> list[TrackHistory]:
    """Group decisions by track, in order of first detection."""
    histories: dict[tuple[str, int], TrackHistory] = {}
    for decided_s, decision in decisions:
        key = (decision.face.face.frame.camera, decision.face.track_id)
        histories.setdefault(key, TrackHistory(*key, [])).decisions.append((decided_s, decision))
    for history in histories.values():
        history.decisions.sort(key=lambda item: item[1].face.face.frame.pts_s)
    return sorted(histories.values(), key=lambda s: (s.camera, s.decisions[0][1].face.face.frame.pts_s, s.track_id))


def render(title: str, quality: QualityInfo, min_quality: dict[str, int], histories: list[TrackHistory]) -> str:
    """Return the page as HTML.

    Args:
        title: title of the page.
        quality: model and algorithm of the scores.
        min_quality: threshold of each camera, 0 to 100.
        histories: tracks with their decisions.
    """
    faces = sum(len(history.decisions) for history in histories)
    total = Counter(d.outcome for history in histories for _, d in history.decisions)
    sent = total[Outcome.FORWARDED] + total[Outcome.DRY_RUN]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1><p class=note>{count(faces, 'face')} on "
        f"{count(len(histories), 'track')}, {sent} forwarded "
        f"({100 * (1 - sent / max(faces, 1)):.1f} % not sent to recognition). Quality by "
        f"{escape(quality.algorithm)}.</p>",
        _counts(total),
    ]
    if len(histories) > MAX_TRACKS:
        parts.append(f"<p class=note>Only the first {MAX_TRACKS} tracks are shown.</p>")
    for history in histories[:MAX_TRACKS]:
        parts.append(_track(history, min_quality.get(history.camera, 0), quality.model))
    return "\n".join(parts) + "</html>\n"


def _counts(total: Counter[Outcome]) -> str:
    rows = "".join(
        f"<tr><td>{_dot(outcome)} {outcome.value.replace('_', ' ')}<td class=n>{count}"
        for outcome, count in total.most_common()
    )
    return f"<table><tr><th>outcome<th>faces{rows}</table>"


def _track(history: TrackHistory, min_quality: int, model: str) -> str:
    first, last = history.decisions[0][1].face, history.decisions[-1][1].face
    start, end = first.face.frame.pts_s, last.face.frame.pts_s
    total = Counter(decision.outcome for _, decision in history.decisions)
    shots = [(at, d) for at, d in history.decisions if d.shot is not None or d.outcome is Outcome.DRY_RUN]
    pictures = "".join(_shot(at, d, model) for at, d in shots)
    if not shots:
        scored = [d.face for _, d in history.decisions if isinstance(d.face, ScoredFace)]
        if scored:
            pictures = _figure(max(scored, key=lambda face: face.quality), "best, not sent", model)
    return (
        f"<h2>{escape(history.camera)}, track {history.track_id}: {start:.2f} to {end:.2f} s, "
        f"{count(len(history.decisions), 'face')}, {len(shots)} sent</h2>"
        f"<div class=track><div>{_timeline(history, min_quality)}</div><div>{_counts(total)}</div>"
        f"<div class=shots>{pictures}</div></div>"
    )


def _timeline(history: TrackHistory, min_quality: int) -> str:
    """Chart of quality over time: a dot per face, a ring per shot, a line at the threshold, a tick per unscored
    face."""
    times = [d.face.face.frame.pts_s for _, d in history.decisions]
    start, span = times[0], max(times[-1] - times[0], 1e-3)

    def x(pts_s: float) -> float:
        return 34 + (WIDTH - 44) * (pts_s - start) / span

    def y(quality: float) -> float:
        return 8 + (HEIGHT - 30) * (1 - quality / 100)

    marks = [f'<svg width={WIDTH} height={HEIGHT} viewBox="0 0 {WIDTH} {HEIGHT}" role=img>']
    marks += [
        f'<line x1=34 x2={WIDTH - 10} y1={y(q):.1f} y2={y(q):.1f} stroke="#d8dee4"/>'
        f'<text x=28 y={y(q) + 4:.1f} font-size=11 text-anchor=end fill="#57606a">{q}</text>'
        for q in (0, 50, 100)
    ]
    marks.append(
        f'<line x1=34 x2={WIDTH - 10} y1={y(min_quality):.1f} y2={y(min_quality):.1f} stroke="#c9382b" '
        f'stroke-dasharray="4 3"/>'
    )
    for _, decision in history.decisions:
        face = decision.face
        if not isinstance(face, ScoredFace):
            left, words = x(face.face.frame.pts_s), decision.outcome.value.replace("_", " ")
            marks.append(
                f'<line x1={left:.1f} x2={left:.1f} y1={HEIGHT - 20} y2={HEIGHT - 26} stroke="{SKIPPED}">'
                f"<title>{face.face.frame.pts_s:.2f} s: {words}</title></line>"
            )
            continue
        at = f"cx={x(face.face.frame.pts_s):.1f} cy={y(face.quality):.1f}"
        words = f"{face.face.frame.pts_s:.2f} s, quality {face.quality}: {decision.outcome.value}"
        marks.append(f'<circle {at} r=3 fill="{_color(decision.outcome)}"><title>{escape(words)}</title></circle>')
        if decision.shot is not None:
            marks.append(f'<circle {at} r=7 fill=none stroke="{_color(decision.outcome)}" stroke-width=2 />')
    for pts_s, anchor in ((start, "start"), (times[-1], "end")):
        marks.append(
            f'<text x={x(pts_s):.1f} y={HEIGHT - 6} font-size=11 text-anchor={anchor} fill="#57606a">'
            f"{pts_s:.2f} s</text>"
        )
    return "".join(marks) + "</svg>"


def _shot(decided_s: float, decision: Decision, model: str) -> str:
    reason = "dry run" if decision.shot is None else decision.shot.reason.value.replace("_", " ")
    face = decision.face
    assert isinstance(face, ScoredFace), "only scored faces are sent"
    return _figure(
        face, f"quality {face.quality} at {face.face.frame.pts_s:.2f} s<br>{reason} at {decided_s:.2f} s", model
    )


def _figure(face: ScoredFace, caption: str, model: str) -> str:
    advice = reasons_of(face, model).advice
    if advice is not None:
        caption += f"<br>{escape(advice.text)}"
    picture = cv2.resize(heatmap(face.face.crop, face.patches), None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    return (
        f'<figure><img width={width} height={height} alt="crop and patch qualities" src="{_data_url(picture)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_url(image: Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image, 85)).decode()


def _dot(outcome: Outcome) -> str:
    return f'<span class=dot style="background:{_color(outcome)}"></span>'


def _color(outcome: Outcome) -> str:
    return COLORS.get(outcome, OTHER)
