#!/usr/bin/env bash
# Packages: av==18.1.0 (FFmpeg with libavcodec 62.28), numpy==2.4.6
#
# Behavior: in H.264 with intra refresh (a moving column of intra blocks and recovery point messages instead of I
# frames) PyAV marks the packet at each recovery point as a key frame, but no decoder setting treats it as one:
# - skip_frame="NONKEY" returns one frame, the IDR at the start, and then none;
# - decoding only packets with is_keyframe returns that frame and one more, which is wrong over most of its area
#   and yet has is_corrupt False; later ones return nothing;
# - after flush_buffers() such a packet alone returns nothing, and the first frame comes many packets later.
#
# Why it matters: encoders offer this mode to smooth the bit rate of a stream. Software that looks only at key
# frames while a camera is quiet, or jumps to the newest key frame when it is late, sees nothing at all of such a
# camera, with no error. Expected before the run: only the first packet is marked, or each marked packet can be
# decoded.
#
# Seen (120 frames, a recovery point every 30): key packets 0, 30, 60, 90; NONKEY 1 frame; key packets only: 2
# frames, the second with a mean error of 79 of 255 (first: 2.6); joined at packet 40: first frame at packet 78.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import io

import av
import numpy as np

WIDTH, HEIGHT, FRAMES, PERIOD = 320, 240, 120, 30
rng = np.random.default_rng(0)
coarse = rng.integers(0, 256, (HEIGHT // 20 + 1, (WIDTH + 4 * FRAMES) // 20 + 2, 3)).astype(np.float64)
scene = np.repeat(np.repeat(coarse, 20, 0), 20, 1).astype(np.uint8)
pictures = [np.ascontiguousarray(scene[:HEIGHT, 4 * i : 4 * i + WIDTH]) for i in range(FRAMES)]

stored = io.BytesIO()
with av.open(stored, "w", format="matroska") as out:
    stream = out.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.options = {"x264-params": f"intra-refresh=1:keyint={PERIOD}:scenecut=0:bframes=0:threads=1"}
    for picture in pictures:
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
    out.mux(stream.encode())


def opened():
    stored.seek(0)
    container = av.open(stored)
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    return container, video


def error(frame: av.VideoFrame, index: int) -> float:
    return float(np.abs(frame.to_ndarray(format="bgr24").astype(int) - pictures[index]).mean())


container, video = opened()
packets = [packet for packet in container.demux(video) if packet.size]
keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
print("packets marked as key frames:", keys)
assert keys == list(range(0, FRAMES, PERIOD))

container, video = opened()
video.codec_context.skip_frame = "NONKEY"
frames = list(container.decode(video))
print("frames with skip_frame NONKEY:", len(frames))
assert len(frames) == 1

context = packets[0].stream.codec_context
shown = []
for key in keys:
    shown += [(key, round(error(frame, key), 1), frame.is_corrupt) for frame in context.decode(packets[key])]
shown += [("end", round(error(frame, keys[1]), 1), frame.is_corrupt) for frame in context.decode(None)]
print("key packets only (packet, mean error, is_corrupt):", shown)
assert len(shown) == 2 and not any(corrupt for *_, corrupt in shown)
assert shown[1][1] > 3 * shown[0][1], "the second picture is wrong"

container, video = opened()
packets = [packet for packet in container.demux(video) if packet.size]
context = video.codec_context
context.flush_buffers()
assert context.decode(packets[60]) == [], "a key packet after a flush returns nothing"
context.flush_buffers()
first = next(i for i in range(40, FRAMES) if context.decode(packets[i]))
print("joined at packet 40, first frame at packet", first)
assert first > 60 + 5
EOF
