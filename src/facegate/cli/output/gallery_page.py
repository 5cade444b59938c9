"""Self-contained pages with the faults of a gallery and with unknown visitors."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.plurals import count
from facegate.pipeline.records import Image
from facegate.recognition.enrollment.checks import Fault
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import Picture
from facegate.recognition.enrollment.unknowns import UnknownCluster, UnknownStore

MAX_NEIGHBORS = 8
MAX_SHOWN = 24
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1000px;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem} .note{color:#57606a}
.fault{border-top:1px solid #d8dee4;padding:.8rem 0} .fault b{color:#c9382b} .fault p{margin:.2rem 0 .6rem}
.row{display:flex;gap:.6rem;flex-wrap:wrap} 
figure{margin:0;font-size:12px;color:#57606a;width:112px;text-align:center}
figure img{display:block;border-radius:4px;width:112px;height:112px} .accused img{outline:3px solid #c9382b}
figcaption{overflow-wrap:anywhere}
"""


def gallery_page(people: GalleryStore, faults: Sequence[Fault]) -> str:
    """Render each fault with its picture and other pictures of the person."""
    pictures = [picture for picture in people.pictures() if picture.kind == "enrolled"]
    names = {picture.person for picture in pictures}
    numbers = f"{count(len(pictures), 'picture')} of {_people(len(names))}, {count(len(faults), 'problem')}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Gallery</title><style>{STYLE}</style>",
        f"<h1>Gallery</h1><p class=note>{numbers}</p>",
    ]
    for fault in faults:
        text = f"<b>{escape(fault.person)}</b>: {escape(fault.reason)}<p class=note>{escape(fault.remedy)}</p>"
        accused = [picture for picture in pictures if picture.row == fault.row]
        others = [p for p in pictures if p.person in (fault.person, fault.other) and p.row != fault.row]
        figures = [_figure(people, picture, "accused") for picture in accused]
        figures += [_figure(people, picture, "") for picture in others[:MAX_NEIGHBORS]]
        parts.append(f"<div class=fault>{text}<div class=row>{''.join(figures)}</div></div>")
    if not faults:
        parts.append("<p>No problems found.</p>")
    return "\n".join(parts) + "</html>\n"


def unknowns_page(unknowns: UnknownStore, clusters: Sequence[UnknownCluster]) -> str:
    """Render each unknown person with the faces of their visits."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Unknown visitors</title><style>{STYLE}</style>",
        f"<h1>Unknown visitors</h1><p class=note>{_people(len(clusters))}, grouped by similarity</p>",
    ]
    for cluster in clusters:
        text = f"<b>{cluster.id}</b>: {count(len(cluster.visits), 'visit')} on {count(cluster.days, 'day')}, "
        figures = []
        for visit in cluster.visits[:MAX_SHOWN]:
            at = datetime.fromtimestamp(visit.seen, UTC).strftime("%Y-%m-%d %H:%M")
            caption = f"{visit.row}<br>{escape(visit.camera)}<br>{at} UTC"
            image = f"<img src='{_inline(unknowns.crop(visit.row))}' alt='face {visit.row}'>"
            figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
        cameras = escape(", ".join(cluster.cameras))
        parts.append(f"<div class=fault>{text}{cameras}<p></p><div class=row>{''.join(figures)}</div></div>")
    return "\n".join(parts) + "</html>\n"


def _figure(people: GalleryStore, picture: Picture, kind: str) -> str:
    caption = f"{escape(picture.person)}<br>{escape(picture.source.rsplit('/', 1)[-1])}, quality {picture.quality}"
    image = f"<img src='{_inline(people.crop(picture.row))}' alt='{escape(picture.person, quote=True)}'>"
    return f"<figure class='{kind}'>{image}<figcaption>{caption}</figcaption></figure>"


def _inline(crop: Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(crop, 90)).decode()


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"
