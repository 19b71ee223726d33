"""Results carry a C2PA manifest that says what was done, and nothing of people, names or places."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import av
import c2pa
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import ROOT
from utils.io import manifest
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.image import Photo, read_photo, write_photo
from utils.io.mark import Mark
from utils.io.video import open_video
from utils.io.xmp import SOURCE_TYPE
from utils.version import VERSION

Notes = list[str]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small photo whose name tells who it is."""
    path = tmp_path / "anna_at_home.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return path


def signed_elsewhere(path: Path, **definition: Any) -> Path:
    """The photo as an editor of another maker would sign it, with a thumbnail."""
    settings = manifest._SETTINGS | {"builder": {"thumbnail": {"enabled": True}}}
    made = [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE.replace("compositeWithT", "t")}]
    said = {"claim_generator_info": [{"name": "Editor"}], **definition,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": made}}]}
    result = io.BytesIO()
    with c2pa.Context.from_dict(settings) as context, c2pa.Builder(said, context=context) as builder, \
            manifest._signer() as signer:
        builder.sign(signer, "image/jpeg", io.BytesIO(path.read_bytes()), result)
    path.write_bytes(result.getvalue())
    return path


def stored(path: Path) -> dict[str, Any]:
    found = manifest.stored_in(path)
    assert found is not None
    return found


def active(found: dict[str, Any]) -> dict[str, Any]:
    return found["manifests"][found["active_manifest"]]


def actions(found: dict[str, Any]) -> list[dict[str, Any]]:
    (said,) = [entry["data"] for entry in active(found)["assertions"] if entry["label"] == "c2pa.actions.v2"]
    return said["actions"]


def is_valid(found: dict[str, Any]) -> bool:
    """Whether nothing is wrong but that nobody vouches for the signer."""
    codes = [entry["code"] for entry in found["validation_status"]]
    return found["validation_state"] == "Valid" and codes == ["signingCredential.untrusted"]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ["o.jpg", "o.jfif", "o.mpo", "o.png", "o.webp", "o.avif", "o.heic", "o.hif", "o.tif",
                                  "o.gif"])
def test_a_photo_says_what_was_done(picture: Path, tmp_path: Path, name: str, deep: bool) -> None:
    photo = read_photo(picture)
    photo = Photo(photo.image.astype(np.uint16) * 257) if deep else photo
    notes: Notes = []
    mark = Mark("full", picture, notes.append)
    write_photo(tmp_path / name, photo, mark=mark)
    write_photo(tmp_path / f"plain_{name}", photo, mark=Mark("metadata"))
    assert not notes and mark.carried == (["c2pa"] if name == "o.gif" else ["xmp", "c2pa"])
    found = stored(tmp_path / name)
    assert is_valid(found) and len(found["manifests"]) == 1 and "thumbnail" not in json.dumps(found)
    assert active(found)["claim_generator_info"][0]["version"] == VERSION
    opened, edited = actions(found)
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    assert edited["digitalSourceType"] == SOURCE_TYPE and len(opened["parameters"]["ingredients"]) == 1
    assert active(found)["ingredients"][0]["relationship"] == "parentOf"
    assert b"anna" not in (tmp_path / name).read_bytes()
    assert (tmp_path / name).stat().st_size < (tmp_path / f"plain_{name}").stat().st_size + 5000
    after, plain = read_photo(tmp_path / name), read_photo(tmp_path / f"plain_{name}")
    assert np.array_equal(after.image, plain.image) and after.notes == plain.notes


def test_two_results_have_nothing_in_common(picture: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / name, read_photo(picture), mark=Mark("full", picture))
    one, other = (active(stored(tmp_path / name)) for name in ("a.png", "b.png"))
    assert one["signature_info"]["cert_serial_number"] != other["signature_info"]["cert_serial_number"]
    assert one["instance_id"] != other["instance_id"]
    assert "time" not in one["signature_info"]


def boxes(path: Path) -> dict[str, int]:
    """Where the parts of an MP4 begin, in order."""
    data, place, found = path.read_bytes(), 0, {}
    while place < len(data):
        size, name = struct.unpack_from(">L4s", data, place)
        found[name.decode()] = place
        place += size
    return found


def tracks(path: Path) -> list[tuple[int, int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.stream.index, packet.pts, bytes(packet)) for packet in container.demux()]


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.m4v"])
def test_a_video_stays_what_it_is(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / "anna.mp4", 30, sound=("aac", "aac"), timecode="01:00:00:00")
    mark, notes = Mark("full", clip, print), Notes()
    with (
        open_video(clip) as video,
        video_writer(tmp_path / name, video.info, EncodeOptions(), notes.append, mark) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    found = stored(tmp_path / name)
    assert is_valid(found) and mark.carried == ["comment", "c2pa"] and b"anna" not in (tmp_path / name).read_bytes()
    with open_video(tmp_path / name) as video:
        assert len(list(video.frames)) == 30 and video.info.timecode
    parts = list(boxes(tmp_path / name))
    assert parts.index("uuid") == 1 and parts.index("moov") < parts.index("mdat")
    capture = cv2.VideoCapture(str(tmp_path / name))
    assert sum(capture.read()[0] for _ in range(40)) == 30
    plain = tmp_path / f"again_{name}"
    with av.open(str(tmp_path / name)) as source, av.open(str(plain), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream)
                  for stream in (*source.streams.video, *source.streams.audio)}
        for packet in source.demux(*source.streams.video, *source.streams.audio):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    before = tracks(plain)
    assert manifest.stored_in(plain) is None and manifest.sign(plain, clip, print)
    assert tracks(plain) == before and is_valid(stored(plain))


def test_a_part_that_is_kept_is_signed_too(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", 9)
    with pytest.raises(KeyboardInterrupt), open_video(clip) as video, \
            video_writer(tmp_path / "o.mp4", video.info, EncodeOptions(), print, Mark("full", clip)) as writer:
        writer.write(next(video.frames))
        writer.keep(tmp_path / "part.mp4")
        raise KeyboardInterrupt
    assert is_valid(stored(tmp_path / "part.mp4")) and not list(tmp_path.glob(".*"))


def test_a_change_is_seen(picture: Path, tmp_path: Path) -> None:
    for name in ("o.png", "o.mp4"):
        if name == "o.png":
            write_photo(tmp_path / name, read_photo(picture), mark=Mark("full", picture))
        else:
            manifest.sign(make_clip(tmp_path / name, 5), None, print)
        data = bytearray((tmp_path / name).read_bytes())
        data[-200 if name == "o.png" else boxes(tmp_path / name)["mdat"] + 500] ^= 1
        (tmp_path / name).write_bytes(data)
        assert stored(tmp_path / name)["validation_state"] == "Invalid"


def test_the_targets_own_manifest_goes_along_without_its_thumbnails(picture: Path, tmp_path: Path) -> None:
    signed_elsewhere(picture, title="holiday")
    with Image.open(picture) as before:
        small = manifest._pictures_in(stored(picture))
        assert len(small) == 1 and before.size == (64, 48)
    photo = read_photo(picture)
    for number in range(2):  # the second time, from the first result
        target = tmp_path / f"{number - 1}.png" if number else picture
        write_photo(tmp_path / f"{number}.png", photo, mark=Mark("full", target))
        found = stored(tmp_path / f"{number}.png")
        assert is_valid(found) and len(found["manifests"]) == number + 2 and not manifest._pictures_in(found)
        assert active(found)["ingredients"][0]["active_manifest"] == stored(target)["active_manifest"]
    assert (tmp_path / "1.png").stat().st_size < (tmp_path / "0.png").stat().st_size + 20_000
    assert "Editor" in json.dumps(found) and b"JFIF" not in (tmp_path / "1.png").read_bytes()


@pytest.mark.parametrize("name", ["broken.jpg", "misnamed.png"])
def test_a_manifest_that_cannot_be_kept_is_left_out_and_said(picture: Path, tmp_path: Path, name: str) -> None:
    data = bytearray(signed_elsewhere(picture).read_bytes())
    if name == "broken.jpg":
        place = data.find(b"jumb") + 200
        data[place : place + 60] = bytes(60)
    picture = tmp_path / name
    picture.write_bytes(data)
    notes: Notes = []
    write_photo(tmp_path / "o.png", read_photo(picture), mark=Mark("full", picture, notes.append))
    assert len(notes) == 1 and notes[0].startswith(f"{picture}: its C2PA manifest cannot be kept and was left out")
    assert is_valid(stored(tmp_path / "o.png")) and len(stored(tmp_path / "o.png")["manifests"]) == 1


@pytest.mark.parametrize("name", ["in.mkv", "folder"])
def test_a_target_of_any_kind_is_named_as_such(picture: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    if name == "folder":
        target.mkdir()
    else:
        make_clip(target, 3)
    write_photo(tmp_path / "o.png", read_photo(picture), mark=Mark("full", target, pytest.fail))
    assert is_valid(stored(tmp_path / "o.png")) and len(active(stored(tmp_path / "o.png"))["ingredients"]) == 1


@pytest.fixture
def asked() -> Iterator[tuple[str, Notes]]:
    """A server's address, and what it was asked for."""
    requests: Notes = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("group", "name", "lax"), [
    ("core", "allowed_network_hosts", []), ("core", "allowed_network_hosts", None),  # None: any
    ("verify", "remote_manifest_fetch", True),
])
def test_nothing_is_fetched(
    asked: tuple[str, Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, lax: Any
) -> None:
    """As things are, and with either of two settings alone."""
    monkeypatch.setitem(manifest._SETTINGS[group], name, lax)  # type: ignore[arg-type]
    address, requests = asked
    packet = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}/a.c2pa"/></rdf:RDF>
    </x:xmpmeta>""".encode()
    Image.new("RGB", (32, 32)).save(tmp_path / "in.jpg", xmp=packet)
    notes: Notes = []
    mark = Mark("full", tmp_path / "in.jpg", notes.append)
    write_photo(tmp_path / "o.jpg", read_photo(tmp_path / "in.jpg"), mark=mark)
    assert len(notes) == 1 and f"{address}/a.c2pa" in notes[0] and is_valid(stored(tmp_path / "o.jpg"))
    with pytest.raises(ValueError, match="remote"):
        manifest.stored_in(tmp_path / "in.jpg")
    assert not requests and address.encode() not in (tmp_path / "o.jpg").read_bytes()


def without_c2pa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)


def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_IN_MEMORY", 0)
    monkeypatch.setattr(manifest.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 9))  # type: ignore[attr-defined]


def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_IN_MEMORY", 0)
    monkeypatch.setattr(manifest, "_LARGEST", 9)


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    def sign(*arguments: object) -> None:
        raise c2pa.C2paError("no reason")

    monkeypatch.setattr(manifest, "_sign", sign)


@pytest.mark.parametrize(("prevent", "said"), [
    (without_c2pa, "c2pa is not installed: pip install"), (without_room, "where the disk has room"),
    (too_large, "which is done up to"), (refusing, "could not be signed: no reason"),
])
def test_without_a_manifest_metadata_stay_and_it_is_said(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str,
    prevent: Callable[[pytest.MonkeyPatch], None],
) -> None:
    prevent(monkeypatch)
    notes: Notes = []
    mark = Mark("full", picture, notes.append)
    write_photo(tmp_path / "out" / "o.png", read_photo(picture), mark=mark)
    write_photo(tmp_path / "out" / "o.bmp", read_photo(picture), mark=Mark("full", picture))
    monkeypatch.undo()
    assert mark.carried == ["xmp"] and len(notes) == 1 and said in notes[0]
    assert manifest.stored_in(tmp_path / "out" / "o.png") is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["o.bmp", "o.png"]


def test_an_interruption_while_it_is_signed_leaves_no_result(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not come to c2pa's callbacks, which would take it for the end of the file."""
    sign, threads = manifest._sign, []

    def signing(*arguments: Any) -> None:
        threads.append(threading.current_thread())
        sign(*arguments)

    class Interrupted(manifest.ThreadPoolExecutor):
        def submit(self, *arguments: Any) -> Any:
            super().submit(*arguments)
            raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "_sign", signing)
    monkeypatch.setattr(manifest, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_photo(tmp_path / "out" / "o.png", read_photo(picture), mark=Mark("full", picture))
    assert threads and threads[0] is not threading.main_thread()
    assert not list((tmp_path / "out").iterdir())


def test_the_library_loads_for_results_alone() -> None:
    code = "import sys, utils.inference.pipeline; print(*{'c2pa', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
