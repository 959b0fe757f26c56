"""OpenCV's networks for faces come from the hub, with the pinned content or not at all.

The networks themselves are not in the repository: what is tested is the way to them.
"""

from __future__ import annotations

import hashlib
import threading
from http.server import ThreadingHTTPServer

import pytest
from hubs import Hub, run_apart
from PIL import Image

from portraitlib.photos.faces.by_opencv import STRANGER_PX, STRANGERS
from portraitlib.photos.faces.find import ENCODERS, FINDERS, default_encoders, find_faces

FETCH = """
from portraitlib.models.files import fetch_file
from portraitlib.settings import UsageError
try:
    print(fetch_file("somebody/network", "faces.onnx", {sha256!r}).read_text())
except UsageError as refusal:
    print("refused:", refusal)
"""
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "faces.onnx").write_text("a network")
    Hub.repositories, Hub.asked = {"somebody/network": ("c" * 40, folder)}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_of_the_hub_is_fetched_once_and_checked_each_time(hub, tmp_path):
    cache = tmp_path / "cache"
    code = FETCH.format(sha256=hashlib.sha256(b"a network").hexdigest())
    assert run_apart(code, cache, hub) == "a network"
    assert run_apart(code, cache, NOBODY, offline="1") == "a network"
    other = run_apart(FETCH.format(sha256="0" * 64), cache, NOBODY, offline="1")
    assert other.startswith("refused: somebody/network: faces.onnx has another content")


def test_a_hub_that_cannot_be_asked_is_said_in_one_line(tmp_path):
    code = """
from PIL import Image
from portraitlib.photos.faces.find import FINDERS, find_faces
from portraitlib.settings import UsageError
try:
    find_faces(Image.new("RGB", (64, 64)), "yunet")
except UsageError as refusal:
    print(refusal)
"""
    said = run_apart(code, tmp_path / "cache", NOBODY, offline="1")
    assert said.startswith("opencv/face_detection_yunet: ") and "HF_HUB_OFFLINE" in said
    assert "\n" not in said


def test_the_hub_is_not_asked_unless_a_network_of_it_is_named():
    assert FINDERS["yunet"].by_name_only
    assert "sface" not in [encoder.name for encoder in default_encoders()]
    assert find_faces(Image.new("RGB", (64, 64))) == ([], None)
    assert ENCODERS["sface"].finder == "yunet"


def test_the_sheet_of_strangers_shows_a_face_in_each_of_its_squares():
    with Image.open(STRANGERS) as opened:
        sheet = opened.convert("RGB")
    side = STRANGER_PX
    squares = [(x, y) for y in range(0, sheet.height, side) for x in range(0, sheet.width, side)]
    assert len(squares) == 24
    found = [
        find_faces(sheet.crop((x, y, x + side, y + side)).resize((512, 512)), "dlib")[0]
        for x, y in squares
    ]
    assert all(len(faces) == 1 for faces in found)
