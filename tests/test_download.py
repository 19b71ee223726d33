"""download_models.sh against a web server on this machine; the real servers are never contacted."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import resource
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTENT = bytes(range(256)) * 2000  # 512 kB
HEADER = (ROOT / "weights" / "manifest.tsv").read_text().splitlines()[0]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; can break off transfers, refuse to continue them and remembers the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, int] = {}  # how many transfers of a file still break off half way
        self.ranges = True
        self.busy: dict[str, int] = {}  # how many requests for a file are still put off
        self.requests: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, asked = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.requests.append((name, asked))
        if self.server.busy.get(name, 0) > 0:
            self.server.busy[name] -= 1
            self.send_error(503)
            return
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and self.server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks.get(name, 0) > 0:
            self.server.breaks[name] -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


class Checkout:
    """A folder with the script and a manifest of test files."""

    def __init__(self, folder: Path, server: Server, downloader: str) -> None:
        self.folder, self.server, self.downloader = folder, server, downloader
        (folder / "weights").mkdir(parents=True)
        shutil.copy(ROOT / "download_models.sh", folder)
        self.rows = [HEADER]

    def add(
        self, name: str, content: bytes | None, known: bool = True, group: str = "inference", **changes: Any
    ) -> Path:
        """List a file and put it on the server; returns where it should arrive."""
        if content is not None:
            self.server.files[name] = content
        size, sha = (str(len(content)), hashlib.sha256(content).hexdigest()) if content and known else ("-", "-")
        row = {"path": f"weights/{name}", "url": self.server.url(name), "bytes": size, "sha256": sha} | changes
        self.rows.append("\t".join([name, row["path"], row["url"], row["bytes"], row["sha256"], group, "none"]))
        return self.folder / row["path"]

    def run(self, *arguments: str, limit: int | None = None, **environment: str) -> subprocess.CompletedProcess:
        """Run the script; `limit` is the largest file that may be written, in bytes."""
        (self.folder / "weights" / "manifest.tsv").write_text("\n".join(self.rows) + "\n")
        settings = {"GHOST_DOWNLOADER": self.downloader, "GHOST_WAIT": "0", "no_proxy": "127.0.0.1"} | environment

        def restrict() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.run(
            ["sh", str(self.folder / "download_models.sh"), *arguments], env=os.environ | settings, preexec_fn=restrict,
            restore_signals=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.name.endswith((".partial", ".lock")))


@pytest.fixture(params=["curl", "wget"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Checkout:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return Checkout(tmp_path / "a checkout", server, request.param)


def test_file_arrives_verified_under_its_name(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT, path="weights/sub folder/G.pth")
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == CONTENT
    assert "done and verified" in result.stdout
    assert checkout.leftovers() == []


@pytest.mark.parametrize(
    ("trouble", "asked"), [("breaks", [None, "bytes=256000-", "bytes=384000-"]), ("busy", [None, None, None])]
)
def test_broken_transfer_is_continued(checkout: Checkout, trouble: str, asked: list[str | None]) -> None:
    path = checkout.add("G.pth", CONTENT)
    getattr(checkout.server, trouble)["G.pth"] = 2
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == CONTENT
    assert [part for _, part in checkout.server.requests] == asked


def test_next_run_continues_where_the_last_one_gave_up(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    checkout.server.breaks["G.pth"] = 2
    result = checkout.run(GHOST_ATTEMPTS="2")
    assert result.returncode == 5
    assert "run again to continue" in result.stderr
    assert not path.exists()
    assert checkout.run().returncode == 0
    assert path.read_bytes() == CONTENT
    assert checkout.server.requests[-1] == ("G.pth", "bytes=384000-")


def test_transfer_starts_anew_where_the_server_cannot_continue(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    checkout.server.breaks["G.pth"] = 1
    checkout.server.ranges = False
    assert checkout.run().returncode == 0
    assert path.read_bytes() == CONTENT


def test_part_of_another_file_is_thrown_away(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    path.with_name("G.pth.partial").write_bytes(b"old" * 1000)
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == CONTENT


def test_complete_part_is_used(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    path.with_name("G.pth.partial").write_bytes(CONTENT)
    assert checkout.run().returncode == 0
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("column", "value", "words"), [("sha256", "0" * 64, "SHA-256 is"), ("bytes", "7", "has 512000 bytes, expected 7")]
)
def test_wrong_file_is_refused(checkout: Checkout, column: str, value: str, words: str) -> None:
    path = checkout.add("G.pth", CONTENT, **{column: value})
    other = checkout.add("H.pth", CONTENT)
    result = checkout.run()
    assert result.returncode == 6 and words in result.stderr
    assert f"weights/G.pth from {checkout.server.url('G.pth')} is not" in result.stderr
    assert not path.exists()
    assert other.exists(), "the others are fetched all the same"
    assert checkout.leftovers() == []


@pytest.mark.parametrize(("content", "words"), [(b"<!DOCTYPE html><p>Log in", "a web page"), (b"", "it is empty")])
def test_what_is_no_weights_is_refused_even_where_no_checksum_is_known(
    checkout: Checkout, content: bytes, words: str
) -> None:
    path = checkout.add("G.pth", content, known=False)
    result = checkout.run()
    assert result.returncode == 6 and words in result.stderr
    assert not path.exists() and not (path.parent / "recorded.tsv").exists()
    assert checkout.leftovers() == []


def test_missing_file_is_named_and_the_others_are_fetched(checkout: Checkout) -> None:
    checkout.add("gone.pth", None)
    path = checkout.add("G.pth", CONTENT)
    result = checkout.run()
    assert result.returncode == 4
    assert f"not on the server: {checkout.server.url('gone.pth')}" in result.stderr
    assert path.exists()
    assert checkout.leftovers() == []


def test_server_out_of_reach(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT, url="http://127.0.0.1:9/G.pth")
    result = checkout.run(GHOST_ATTEMPTS="2")
    assert result.returncode == 5
    assert not path.exists()


def test_write_error_ends_the_run(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    second = checkout.add("H.pth", CONTENT)
    result = checkout.run(limit=100_000)
    assert result.returncode == 7
    assert f"cannot write weights/{path.name}.partial" in result.stderr
    assert not path.exists()
    assert not second.exists()
    assert checkout.run().returncode == 0, "with room again, the next run goes on"
    assert path.read_bytes() == CONTENT


def test_full_disk(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT, known=False, path="disk/G.pth")
    path.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path.parent)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        result = checkout.run()
        assert result.returncode == 7
        assert "is the disk full?" in result.stderr
        assert not path.exists()
    finally:
        subprocess.run(["umount", str(path.parent)], check=True)


def test_space_is_checked_before_a_transfer(checkout: Checkout) -> None:
    checkout.add("G.pth", CONTENT)
    tools = checkout.folder / "tools"
    tools.mkdir()
    (tools / "df").write_text("#!/bin/sh\necho header\necho disk 1000 900 100 90% /\n")
    (tools / "df").chmod(0o755)
    result = checkout.run(PATH=f"{tools}:{os.environ['PATH']}")
    assert result.returncode == 7
    assert "no space for weights/G.pth.partial" in result.stderr
    assert checkout.server.requests == []


def test_unknown_checksum_is_recorded_and_holds(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT, known=False)
    assert hashlib.sha256(CONTENT).hexdigest() in checkout.run().stdout
    recorded = (checkout.folder / "weights" / "recorded.tsv").read_text()
    assert f"weights/G.pth\t{len(CONTENT)}\t{hashlib.sha256(CONTENT).hexdigest()}" in recorded
    path.unlink()
    checkout.server.files["G.pth"] = CONTENT[::-1]
    result = checkout.run()
    assert result.returncode == 6
    assert not path.exists()


def test_another_folder_of_weights(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT, known=False)
    assert checkout.run(GHOST_WEIGHTS=str(checkout.folder / "else where")).returncode == 0
    assert not path.exists() and (checkout.folder / "else where" / "G.pth").read_bytes() == CONTENT
    assert (checkout.folder / "else where" / "recorded.tsv").is_file()


def test_second_run_fetches_nothing(checkout: Checkout) -> None:
    known, unknown = checkout.add("G.pth", CONTENT), checkout.add("H.pth", CONTENT, known=False)
    checkout.run()
    checkout.server.requests.clear()
    result = checkout.run()
    assert result.returncode == 0 and result.stdout.count("there and verified") == 2
    assert checkout.server.requests == []
    assert known.exists() and unknown.exists()


def test_a_file_of_ones_own_is_left_alone(checkout: Checkout) -> None:
    path = checkout.add("G.pth", CONTENT)
    path.write_bytes(b"my own training")
    result = checkout.run()
    assert result.returncode == 6 and "left alone" in result.stderr
    assert path.read_bytes() == b"my own training"


@pytest.mark.parametrize("where", ["server", "address", "folder", "folder near by"])
def test_mirror(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = checkout.add("G.pth", CONTENT, url="http://published.invalid/releases/v2/G.pth")
    (tmp_path / "a stick").mkdir()
    (tmp_path / "a stick" / "G.pth").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    places = {"server": checkout.server.url("mirror/"), "address": f"file://{tmp_path}/a stick",
              "folder": f"{tmp_path}/a stick/", "folder near by": "a stick"}
    result = checkout.run(GHOST_MIRROR=places[where])
    assert result.returncode == 0 and path.read_bytes() == CONTENT, result.stderr


@pytest.mark.parametrize("start", ["", "file://"])
def test_a_mirror_on_disk_that_lacks_the_file(checkout: Checkout, tmp_path: Path, start: str) -> None:
    checkout.add("G.pth", CONTENT, url="http://published.invalid/releases/v2/G.pth")
    result = checkout.run(GHOST_MIRROR=f"{start}{tmp_path}/not mounted")
    assert result.returncode == 4 and f"there is no file {start}{tmp_path}/not mounted/G.pth" in result.stderr


def archive(**members: bytes) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_onnx", ".onnx"), content)
    return buffer.getvalue()


def add_member(checkout: Checkout, pack: bytes) -> Path:
    """List 2d106det.onnx, to be taken out of an archive."""
    checkout.server.files["buffalo_l.zip"] = pack
    url, sha = checkout.server.url("buffalo_l.zip#2d106det.onnx"), hashlib.sha256(CONTENT).hexdigest()
    return checkout.add("2d106det.onnx", None, url=url, bytes=str(len(CONTENT)), sha256=sha)


@pytest.mark.parametrize("folder", ["", "buffalo_l__"])
def test_member_of_an_archive(checkout: Checkout, folder: str) -> None:
    path = add_member(checkout, archive(**{f"{folder}genderage_onnx": b"1", f"{folder}2d106det_onnx": CONTENT}))
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == CONTENT
    assert checkout.leftovers() == []


def test_member_of_an_archive_without_unzip(checkout: Checkout) -> None:
    path = add_member(checkout, archive(**{"2d106det_onnx": CONTENT}))
    tools = checkout.folder / "tools"
    tools.mkdir()
    names = "sh dirname cut tail grep mkdir cat rm wc tr head awk df mv sha256sum sleep"
    for tool in (*names.split(), checkout.downloader):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    result = checkout.run(PATH=str(tools))
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == CONTENT


def test_archive_without_the_member(checkout: Checkout) -> None:
    path = add_member(checkout, archive(genderage_onnx=b"1"))
    result = checkout.run()
    assert result.returncode == 6
    assert "cannot take 2d106det.onnx out of" in result.stderr
    assert not path.exists()
    assert checkout.leftovers() == []


@pytest.mark.parametrize(("arguments", "expected"), [("inference", "AB"), ("training", "AC"), ("all", "ABCD"),
                                                     ("D.pth B.pth", "BD")])
def test_groups_and_names(checkout: Checkout, arguments: str, expected: str) -> None:
    groups = {"A": "inference,training", "B": "inference", "C": "training", "D": "legacy"}
    paths = [checkout.add(f"{name}.pth", CONTENT, group=group) for name, group in groups.items()]
    assert checkout.run(*arguments.split()).returncode == 0
    assert "".join(path.stem for path in paths if path.exists()) == expected


def test_unknown_argument(checkout: Checkout) -> None:
    checkout.add("G.pth", CONTENT)
    result = checkout.run("everything")
    assert result.returncode == 2
    assert "'everything' is neither" in result.stderr
    assert checkout.server.requests == []


def test_two_runs_at_once_are_refused(checkout: Checkout) -> None:
    checkout.add("G.pth", CONTENT)
    lock = checkout.folder / "weights" / ".download.lock"
    lock.write_text(str(os.getpid()))
    result = checkout.run()
    assert result.returncode == 2
    assert "another download" in result.stderr
    assert lock.exists()
    lock.write_text("99999999")
    assert checkout.run().returncode == 0, "a lock left behind by a dead process does not hold"
