#!/usr/bin/env bash
# Packages: opencv-python-headless==5.0.0.93, pillow==13.0.0, numpy==2.4.6
#
# Behavior: cv2.imdecode() rotates JPEG, PNG, WebP and TIFF by their orientation, and AVIF not: a picture that is
# stored on its side with the AVIF properties 'irot' and 'imir' comes out on its side, without IMREAD_IGNORE_ORIENTATION.
#
# Why it matters: phones and browsers write AVIF. Faces on their side are not detected, or with wrong landmarks, and
# a program that handles JPEG correctly has no reason to look at the orientation of AVIF itself.
# Expected before the run: the same picture from every format.
#
# Seen: orientations 2 to 8: JPEG, PNG, WebP and TIFF upright, AVIF as stored in all seven; Pillow's exif_transpose()
# sets all of them upright.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageOps

upright = np.zeros((48, 64, 3), np.uint8)
upright[:24, :32], upright[:24, 32:] = (255, 0, 0), (0, 255, 0)
upright[24:, :32], upright[24:, 32:] = (0, 0, 255), (255, 255, 0)
How = Image.Transpose
stored = {
    2: How.FLIP_LEFT_RIGHT, 3: How.ROTATE_180, 4: How.FLIP_TOP_BOTTOM, 5: How.TRANSPOSE, 6: How.ROTATE_90,
    7: How.TRANSVERSE, 8: How.ROTATE_270,
}


def same(picture: np.ndarray) -> bool:
    return picture.shape == upright.shape and np.abs(picture.astype(int) - upright).mean() < 12


wrong = {}
for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
    wrong[kind] = []
    for orientation, how in stored.items():
        tag, out = Image.Exif(), BytesIO()
        tag[0x0112] = orientation
        Image.fromarray(upright).transpose(how).save(out, kind, exif=tag)
        picture = cv2.imdecode(np.frombuffer(out.getvalue(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        if not same(picture):
            wrong[kind].append(orientation)
        assert same(np.asarray(ImageOps.exif_transpose(Image.open(out)).convert("RGB")))
print("not upright:", wrong)
assert wrong == {"JPEG": [], "PNG": [], "WEBP": [], "TIFF": [], "AVIF": list(stored)}
EOF
