"""Photographs of every kind are read whole and upright, or refused with words."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from facegate.errors import SourceError
from facegate.pipeline import images
from facegate.pipeline.images import PICTURE_SUFFIXES, decode_image
from facegate.pipeline.sources.factory import open_source

from .sources.test_sources import cam

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored that its orientation tag (EXIF 2.3, tag 274) sets upright."""
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def corners(width: int = 64, height: int = 48) -> np.ndarray:
    """Red and green above blue and yellow."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = (255, 0, 0), (0, 255, 0)
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = (0, 0, 255), (255, 255, 0)
    return picture


def stored(orientation: int, kind: str, how: str) -> bytes:
    picture, turned, out = Image.fromarray(corners()), STORED[orientation], BytesIO()
    picture = picture if turned is None else picture.transpose(turned)
    tag = Image.Exif()
    tag[0x0112] = orientation
    if how == "exif":
        picture.save(out, kind, exif=tag, **({} if kind in ("PNG", "TIFF") else {"quality": 95}))
    elif kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        if how == "xmp":
            texts.add_itxt("XML:com.adobe.xmp", XMP.format(orientation))
        else:  # as ImageMagick writes it
            data = tag.tobytes().hex()
            texts.add_text("Raw profile type exif", f"\nexif\n{len(data) // 2:8d}\n{data}\n", zip=False)
        picture.save(out, kind, pnginfo=texts)
    else:
        picture.save(out, kind, xmp=XMP.format(orientation).encode(), quality=95)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *[(kind, "exif") for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")],
        *[(kind, "xmp") for kind in ("JPEG", "PNG", "WEBP")],
        ("PNG", "text"),
    ],
)
def test_a_picture_is_upright_whatever_says_how_it_lies(kind: str, how: str) -> None:
    for orientation in STORED:
        seen = decode_image(stored(orientation, kind, how), "it")
        assert seen.shape == (48, 64, 3) and np.abs(seen.astype(int) - corners()).mean() < 12, orientation


def heic() -> bytes:
    heif = pytest.importorskip("pillow_heif")
    out = BytesIO()
    heif.options.GRID_TILE_SIZE = 512  # in tiles, as phones store it
    heif.from_pillow(Image.fromarray(corners(1280, 960))).save(out, format="HEIF", quality=90)
    return out.getvalue()


def test_a_phones_picture_is_read_whole_under_any_name(tmp_path: Path) -> None:
    for name in ("photo.heic", "photo.HEIF", "photo.jpg"):
        (tmp_path / name).write_bytes(heic())
        (frame,) = open_source(cam(tmp_path / name)).frames(Event())
        assert frame.image.shape == (960, 1280, 3) and frame.still
        assert np.abs(frame.image.astype(int) - corners(1280, 960)).mean() < 12


def test_a_phones_picture_is_refused_with_words_where_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    monkeypatch.setattr(images, "installed", lambda extra: False)
    with pytest.raises(
        SourceError, match=r"photo\.jpg is a HEIC picture: use JPEG, or pip install 'facegate\[heif\]'"
    ):
        decode_image(content, "photo.jpg")


def test_all_that_decodes_in_a_folder_is_read(tmp_path: Path) -> None:
    written = []
    for kind, suffix in {
        "JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "AVIF": "avif", "GIF": "gif", "PNG": "png", "WEBP": "webp",
        "BMP": "bmp", "PPM": "ppm",
    }.items():  # fmt: skip
        Image.fromarray(corners()).save(tmp_path / f"{kind}.{suffix}", kind)
        written.append(f".{suffix}")
    (tmp_path / "notes.txt").write_text("no picture")
    assert set(written) <= PICTURE_SUFFIXES
    assert len(list(open_source(cam(tmp_path)).frames(Event()))) == len(written)
