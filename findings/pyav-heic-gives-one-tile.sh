#!/usr/bin/env bash
# Packages: av==18.1.0 (FFmpeg with libavformat 62.12), pillow-heif==1.8.1, pillow==13.0.0, numpy==2.4.6
#
# Behavior: av.open() opens a HEIC picture that is stored in tiles, as phones do, and its first video stream decodes
# to one tile. Nothing says so: the container has one stream per tile, and the picture's size is in none of them.
#
# Why it matters: a program that takes pictures and videos through the same code sees a corner of each photograph,
# 512 x 512 of a phone's, with no error: people are missing from it.
# Expected before the run: the whole picture, or an error.
#
# Seen: 1280 x 960 stored in tiles of 512: six streams, the first frame 512 x 512.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq av==18.1.0 pillow-heif==1.8.1 pillow==13.0.0 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
from io import BytesIO

import av
import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.options.GRID_TILE_SIZE = 512
stored = BytesIO()
picture = np.random.default_rng(0).integers(0, 256, (960, 1280, 3), np.uint8)
pillow_heif.from_pillow(Image.fromarray(picture)).save(stored, format="HEIF", quality=80)
stored.seek(0)
assert pillow_heif.open_heif(stored).size == (1280, 960)
stored.seek(0)
with av.open(stored) as container:
    sizes = [(stream.codec_context.width, stream.codec_context.height) for stream in container.streams.video]
    frame = next(container.decode(video=0))
print("streams", sizes, "first frame", (frame.width, frame.height))
assert sizes == [(512, 512)] * 6 and (frame.width, frame.height) == (512, 512)
EOF
