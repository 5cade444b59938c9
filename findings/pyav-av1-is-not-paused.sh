#!/usr/bin/env bash
# Packages: av==18.1.0 (FFmpeg with libavcodec 62.28 and libdav1d), numpy==2.4.6
#
# Behavior: skip_frame of a PyAV codec context means something else for AV1, which libdav1d decodes: "ALL" still
# returns every key frame, where H.264 and HEVC return nothing, and "BIDIR" returns what "NONREF" does, where they
# return fewer.
#
# Why it matters: "ALL" is the usual way to keep a camera's connection open and spend nothing on decoding, for a
# camera that is paused or outside its hours. An AV1 camera goes on delivering pictures, one per key frame, to
# whatever follows the decoder: faces are found in hours in which the camera must not look. Expected before the
# run: no frame for any codec.
#
# Seen (40 frames, 4 key frames): ALL: AV1 4, H.264 0, HEVC 0; AV1 NONREF and BIDIR equal; H.264 BIDIR below
# NONREF.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
SVT_LOG=1 "$T/venv/bin/python" - <<'EOF'
import io

import av
import numpy as np

rng = np.random.default_rng(0)
scene = np.repeat(np.repeat(rng.integers(0, 256, (13, 26, 3)), 20, 0), 20, 1).astype(np.uint8)


def recorded(encoder: str, options: dict[str, str]) -> io.BytesIO:
    stored = io.BytesIO()
    with av.open(stored, "w", format="matroska") as out:
        stream = out.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 320, 240, "yuv420p", options
        for i in range(40):
            picture = np.ascontiguousarray(scene[:240, 4 * i : 4 * i + 320])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        out.mux(stream.encode())
    return stored


seen = {}
for encoder, options in (
    ("libsvtav1", {"preset": "10", "svtav1-params": "keyint=10"}),
    ("libx264", {"g": "10", "bf": "3", "x264-params": "scenecut=0"}),
    ("libx265", {"x265-params": "keyint=10:bframes=2:log-level=none"}),
):
    stored = recorded(encoder, options)
    counts = {}
    for skip in ("DEFAULT", "NONREF", "BIDIR", "NONKEY", "ALL"):
        stored.seek(0)
        with av.open(stored) as container:
            video = container.streams.video[0]
            video.codec_context.skip_frame = skip
            counts[skip] = sum(1 for _ in container.decode(video))
            decoder = video.codec_context.name
    seen[decoder] = counts
    print(decoder, counts)
assert set(seen) == {"libdav1d", "h264", "hevc"}
assert all(counts["DEFAULT"] == 40 and counts["NONKEY"] == 4 for counts in seen.values())
assert {name: counts["ALL"] for name, counts in seen.items()} == {"libdav1d": 4, "h264": 0, "hevc": 0}
assert seen["libdav1d"]["NONREF"] == seen["libdav1d"]["BIDIR"] < 40
assert seen["h264"]["BIDIR"] < seen["h264"]["NONREF"]
EOF
