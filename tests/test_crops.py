"""Crops of training sets whose files are broken are nothing that ends a training."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from utils.io.crops import read_square
from utils.training.augment import Framing
from utils.training.faces import Faces, Paths, decoded

SIDE, CLAIMED = 16, 65000


def encoded(ending: str) -> bytearray:
    return bytearray(cv2.imencode(ending, np.full((SIDE, SIDE, 3), 99, np.uint8))[1].tobytes())


def enormous(ending: str) -> bytes:
    """A small picture whose header claims four billion pixels."""
    data = encoded(ending)
    if ending == ".jpg":
        frame = data.index(b"\xff\xc0") + 5  # after marker, length and precision
        data[frame : frame + 4] = struct.pack(">HH", CLAIMED, CLAIMED)
    else:
        header = data.index(b"IHDR")
        data[header + 4 : header + 12] = struct.pack(">II", CLAIMED, CLAIMED)
        data[header + 17 : header + 21] = struct.pack(">I", zlib.crc32(data[header : header + 17]))
    return bytes(data)


@pytest.mark.parametrize("ending", (".jpg", ".png"))
def test_a_picture_that_claims_an_impossible_size_is_broken(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [tmp_path / f"{name}{ending}" for name in ("good", "enormous")]
    paths[0].write_bytes(encoded(ending))
    paths[1].write_bytes(enormous(ending))
    assert read_square(paths[1]) is None
    faces = decoded(Faces(Paths(tmp_path, [path.name for path in paths]), ["a", "b"], None, Framing(SIDE, SIDE)))
    assert list(faces.paths) == paths[:1] and faces.images is not None
    assert torch.equal(faces.images, torch.full((1, 3, SIDE, SIDE), 99, dtype=torch.uint8))
    assert f"{paths[1]} cannot be read as a picture" in caplog.text
