"""A camera that is found in the network is tried and added; somebody in front of it is enrolled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ...endurance.scenes import write_clip
from ...helpers import transcode
from ...onvif_camera import OnvifCamera
from ..serving import Served, served


@pytest.fixture(scope="module")
def device(clip: DemoClip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnvifCamera]:
    """A camera with two streams, in front of which one person stands."""
    folder = tmp_path_factory.mktemp("device")
    photo = sorted(sorted(clip.gallery.iterdir())[0].iterdir())[0]
    write_clip(photo, folder / "main.mp4", [(0, 60)], 4.0)
    transcode(folder / "main.mp4", folder / "sub.mp4", size=(480, 270))
    with ExitStack() as stack:
        streams = {}
        for name, (width, height) in {"main": (640, 360), "sub": (480, 270)}.items():
            server = stack.enter_context(RtspServer(Movie(folder / f"{name}.mp4"), loop=True))
            streams[name] = (width, height, server.url)
        camera = OnvifCamera(streams, serial="SN-7", model="Dome 3000", login=("viewer", "s3c/r:et"))
        stack.enter_context(camera.serving())
        yield camera


@pytest.fixture(scope="module")
def console(device: OnvifCamera, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data: Path = tmp_path_factory.mktemp("walk") / "data"
    with served(data) as found:
        yield found


def test_a_camera_is_found_tried_and_added_with_both_streams(
    page: Page, console: Served, device: OnvifCamera
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "discover" in request.url else None)
    page.goto(f"{console.url}/cameras")
    page.get_by_text("Find cameras in the network").click()
    page.get_by_label("Also ask these hosts").fill(f"127.0.0.1:{device.port}")
    assert not asked, "the network is asked on a click only"
    page.get_by_label("User").first.fill("viewer")
    page.get_by_label("Password").first.fill("wrong")
    page.get_by_role("button", name="Find cameras").click()
    row = page.get_by_role("row").filter(has_text=f"127.0.0.1:{device.port}")
    expect(row).to_contain_text("rejected the credentials")
    page.get_by_label("Password").first.fill("s3c/r:et")
    page.get_by_role("button", name="Find cameras").click()
    expect(row).to_contain_text("640x360")
    expect(row).to_contain_text("480x270")
    page.get_by_role("button", name="Use 127.0.0.1").click()
    expect(page.get_by_label("Address").first).to_have_value(device.streams["sub"][2])
    expect(page.get_by_label("High-resolution stream")).to_have_value(device.streams["main"][2])
    page.get_by_label("User").first.fill("")
    page.get_by_label("Password").first.fill("")
    page.get_by_role("button", name="Test", exact=True).click()
    for size, name in (("480x270", "Stream"), ("640x360", "High-resolution stream")):
        expect(page.get_by_text(re.compile(rf"{size}, [\d.]+ fps, h264, first frame after"))).to_be_visible()
        picture = page.get_by_role("img", name=name, exact=True)
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 480
    page.get_by_label("Name").fill("Eingang Süd")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("tr[data-camera=Eingang-Sud] .state")).to_have_text("live")
    (camera,) = console.get("/cameras")["cameras"]
    assert camera["settings"]["serial"] == "SN-7" and camera["display_name"] == "Eingang Süd"
    assert (camera["source"], camera["main_stream"]) == (device.streams["sub"][2], device.streams["main"][2])


def test_somebody_before_the_camera_is_enrolled_from_its_picture(console: Served) -> None:
    """Front at once; a pose that the face does not show is not taken for one."""
    console.until("/cameras", lambda found: found["cameras"][0]["state"] == "live")
    path = "/people/Ada/camera"
    assert console.api("POST", path, {"camera": "nobody", "poses": ["front"]}).status == 503
    assert console.api("POST", path, {"camera": "Eingang-Sud", "poses": []}).status == 422
    turned = console.api("POST", path, {"camera": "Eingang-Sud", "poses": ["left"]}).json()
    assert (turned["state"], turned["pose"]) == ("pose", "front") and console.get("/people") == []
    taken = console.api("POST", path, {"camera": "Eingang-Sud", "poses": ["front"]}).json()
    assert (taken["state"], taken["pose"], taken["faults"]) == ("added", "front", []) and taken["quality"] >= 40
    (ada,) = console.get("/people")
    assert (ada["name"], ada["pictures"], ada["missing"]) == ("Ada", 1, ["left", "right"])
    assert console.get("/people/Ada")[0]["source"] == "camera Eingang-Sud"


def test_the_page_says_where_to_look_until_three_poses_are_enrolled(page: Page, console: Served) -> None:
    """Each answer of the console is said in words; the poses are those of a person who follows them."""
    answers = [
        ("nobody", None, "", "Nobody is in the picture."),
        ("several", "front", "", "Several people are in the picture: one at a time."),
        ("poor", "front", "too dark: more light on the face", "too dark: more light on the face"),
        ("added", "front", "", "Turn the head to one side."),
        ("pose", "front", "", "A little further: about half to the side."),
        ("added", "right", "", "Now turn it to the other side."),
        ("added", "left", "", "Done: Bo is enrolled with three pictures."),
    ]
    asked: list[list[str]] = []
    waiting: list[Route] = []
    page.route("**/people/Bo/camera", lambda route: waiting.append(route))  # noqa: PLW0108
    page.goto(f"{console.url}/people")
    page.get_by_role("button", name="Enroll at a camera").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Bo")
    expect(dialog.get_by_label("Camera")).to_contain_text("Eingang Süd")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_contain_text("Look into the camera.")
    for state, pose, advice, said in answers:
        while not waiting:
            page.wait_for_timeout(50)
        route = waiting.pop()
        asked.append(json.loads(route.request.post_data or "{}")["poses"])
        route.fulfill(json={"state": state, "pose": pose, "quality": 50, "advice": advice, "faults": []})
        expect(dialog).to_contain_text(said)
    expect(dialog.get_by_text("Done: Bo is enrolled with three pictures.")).to_be_visible()
    assert asked == [["front"]] * 4 + [["left", "right"]] * 2 + [["left"]]
    expect(dialog.locator("li.good")).to_have_count(3)
    expect(dialog.get_by_role("img", name="Picture of the camera")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("Enrolled from a camera.")).to_be_visible()


def test_a_camera_that_fails_ends_the_enrollment_with_words(page: Page, console: Served) -> None:
    page.goto(f"{console.url}/people")
    page.route("**/people/*/camera", lambda route: route.abort())
    page.get_by_role("button", name="Enroll at a camera").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Cy")
    dialog.get_by_role("button", name="Start").click()
    expect(page.locator(".toast.wrong")).to_contain_text("No connection to the console")
    expect(dialog.get_by_role("button", name="Start")).to_be_enabled()
    assert "Cy" not in {each["name"] for each in console.get("/people")}
    expect(page.get_by_text(re.compile("Enrolled from"))).to_have_count(0)
