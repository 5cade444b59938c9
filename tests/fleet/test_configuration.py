"""What ``fleet apply`` accepts before any node has seen it."""

from __future__ import annotations

from typing import Any

import pytest

from facegate.fleet.configuration import check, decode, encode, follow

CAMERA = {"name": "door", "source": "rtsp://camera/1"}
WEBHOOK = {"kind": "webhook", "url": "https://host/hook", "spool": "hook.spool"}


@pytest.mark.parametrize(
    ("camera", "output"),
    [
        ({}, WEBHOOK | {"secret": "${SECRET}"}),
        ({}, WEBHOOK | {"url": "https://${HOST}/${PATH}"}),
        ({}, {"kind": "mqtt", "url": "mqtts://me:${PASSWORD}@${HOST}:8883/${PREFIX}", "spool": "mqtt.spool"}),
        ({"source": "${URL}"}, None),
        ({"source": "${URL}", "main_stream": "${MAIN_URL}"}, None),
        ({"source": "${URL}", "user": "${USER}", "password": "${PASSWORD}"}, None),
        ({"source": "rtsp://${USER}:${PASSWORD}@${HOST}/1", "tags": ["${TAG}"], "hosts": ["${HOST}"]}, None),
    ],
)
def test_a_variable_may_stand_for_any_text(camera: dict[str, Any], output: dict[str, Any] | None) -> None:
    data: dict[str, Any] = {"cameras": [CAMERA | camera]}
    if output is not None:
        data["delivery"] = {"outputs": [output]}
    check(data, "site.yaml")


def test_a_node_refuses_a_camera_whose_variable_it_lacks_and_takes_the_others() -> None:
    data = {"cameras": [CAMERA, CAMERA | {"name": "yard", "source": "${YARD}"}]}
    applied = decode(encode(data, "me", 0.0), 7)
    found = follow(applied, {})
    assert [camera.name for camera in found.config.cameras] == ["door"]
    assert "YARD is not set" in found.refused["yard"]
