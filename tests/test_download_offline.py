"""What download_models.sh says where nothing, or only a part, comes; the programs that fetch are stand-ins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_download import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
NO_NAME = "wget: unable to resolve host address 'nowhere.invalid'"


def fetch(folder: Path, downloader: str, script: str, **environment: str) -> tuple[subprocess.CompletedProcess, int]:
    """Fetch one file with a downloader that only runs `script`, in which $part is the partial file; the result, and how
    often it was called."""
    (folder / "weights").mkdir(exist_ok=True)
    shutil.copy(ROOT / "download_models.sh", folder)
    header = (ROOT / "weights/manifest.tsv").read_text().splitlines()[0]
    row = "G.pth\tweights/G.pth\thttp://nowhere.invalid/G.pth\t-\t-\tinference\tnone"
    (folder / "weights/manifest.tsv").write_text(f"{header}\n{row}\n")
    program, calls = folder / downloader, folder / "calls"
    calls.touch()
    program.write_text(f"#!/bin/sh\nprintf . >>'{calls}'\npart='{folder}/weights/G.pth.partial'\n{script}\n")
    program.chmod(0o755)
    settings = {"GHOST_DOWNLOADER": str(program), "GHOST_WAIT": "0", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    result = subprocess.run(["sh", str(folder / "download_models.sh")], cwd=folder.parent, env=settings | environment,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return result, len(calls.read_text())


@pytest.mark.parametrize(("downloader", "script"), [
    ("curl", "exit 6"), ("curl", "exit 7"), ("wget", f'echo "{NO_NAME}" >&2; exit 4'),
])
def test_without_a_connection_it_is_said_once(tmp_path: Path, downloader: str, script: str) -> None:
    result, calls = fetch(tmp_path, downloader, script)
    assert result.returncode == 5 and calls == 1
    said = "no connection (is this machine online?): http://nowhere.invalid/G.pth; run again\n"
    assert result.stderr.count(said) == 1
    assert "attempt" not in result.stdout and "kept" not in result.stderr


def test_a_connection_that_was_there_may_come_back(tmp_path: Path) -> None:
    result, calls = fetch(tmp_path, "curl", "[ ! -s $part ] || exit 6; echo half >$part; exit 18")
    assert result.returncode == 5 and calls == 5
    assert "the transfer was broken off, attempt 2 of 5" in result.stdout and "what arrived is kept" in result.stderr
    assert "no connection (is this machine online?), attempt 3 of 5" in result.stdout


@pytest.mark.parametrize("downloader", ["curl", "wget"])
def test_what_never_began_was_not_broken_off(tmp_path: Path, downloader: str) -> None:
    result, calls = fetch(tmp_path, downloader, "exit 56" if downloader == "curl" else "exit 4")
    assert result.returncode == 5 and calls == 5
    assert "nothing came, attempt 2 of 5" in result.stdout and "kept" not in result.stderr


def test_a_folder_of_windows_is_taken_as_it_is_and_its_checksums_stay_plain(tmp_path: Path) -> None:
    checkout, mirror, weights = tmp_path / "checkout", tmp_path / "mirror", r"D:\new"
    for folder in (checkout, mirror):
        folder.mkdir()
    (mirror / "G.pth").write_bytes(b"weights")
    for said in ("done; no checksum was published", r"D:\new/G.pth: there and verified"):
        result, calls = fetch(checkout, "curl", "exit 6", GHOST_WEIGHTS=weights, GHOST_MIRROR=str(mirror))
        assert result.returncode == calls == 0 and said in result.stdout, result.stderr
    assert (checkout / weights / "G.pth").read_bytes() == b"weights", "here a relative path, but none from elsewhere"
    checksum = hashlib.sha256(b"weights").hexdigest()
    assert (checkout / weights / "recorded.tsv").read_text().endswith(f"\t{checksum}\n")
