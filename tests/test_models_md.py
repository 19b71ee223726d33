"""The licence ledger lists every model that the program can load or download; the list of downloads is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils import registry

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "MODELS.md").read_text(encoding="utf-8")
LINES = [line.strip().strip("|") for line in TEXT.splitlines() if line.startswith("| `")]
ROWS = [[cell.strip() for cell in line.split("|")] for line in LINES]
COLUMNS = 8


def row_of(name: str) -> list[str]:
    """The ledger's row of a model."""
    (row,) = [row for row in ROWS if f"`{name}`" in row[0]]
    return row


def test_rows_are_complete() -> None:
    assert all(len(row) == COLUMNS and all(row) for row in ROWS)
    assert all(row[-1].split("**")[1] in ("yes", "no", "unclear") for row in ROWS)


@pytest.mark.parametrize("name", registry.SPECS)
def test_every_model_of_the_registry(name: str) -> None:
    spec, row = registry.SPECS[name], row_of(name)
    assert spec.places[0].removeprefix("package:") in row[1]
    assert row[-1].split("**")[1] == spec.commercial


def downloads() -> list[list[str]]:
    lines = (ROOT / "weights" / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


@pytest.mark.parametrize("download", downloads(), ids=lambda row: row[0])
def test_every_download(download: list[str]) -> None:
    _, path, _, size, sha256, _, _ = download
    wanted = "weights/D_unet_*.pth" if "D_unet" in path else path
    (row,) = [row for row in ROWS if f"`{wanted}`" in row[1]]
    if size == "-":
        assert "recorded" in row[6]
    else:
        assert f"{int(size):,} bytes" in row[6] and sha256 in row[6]


def test_list_of_downloads() -> None:
    rows = downloads()
    assert all(len(row) == 7 and all(row) for row in rows)
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
    fetched = {row[2].partition("#")[0].rpartition("/")[2] for row in rows}
    assert len(fetched) == len(rows), "a mirror is one flat folder"
    assert all(row[4] == "-" or len(row[4]) == 64 for row in rows)
    assert all(set(row[5].split(",")) <= {"inference", "training", "legacy"} for row in rows)
