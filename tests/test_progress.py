"""The line that says how far a run is."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_set import write_set
from utils.progress import counted, progress, silenced
from utils.teachers.mediapipe import Mesh
from utils.training import labels
from utils.training.faces import decoded, find_faces
from utils.training.prepare import embed_set


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool = True) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_on_a_terminal_alone(
    quiet: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch, terminal)
    with progress(3, quiet, "photos") as advance:
        advance()
        advance(2, "1 kept")
    said = capsys.readouterr()
    assert not said.out
    if terminal and not quiet:
        assert "3/3" in said.err and "photos/s" in said.err and "1 kept" in said.err
    else:
        assert not said.err


def test_items_are_counted_as_they_are_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    assert list(counted("abc", "letters", quiet=False)) == ["a", "b", "c"]
    assert "3/3" in capsys.readouterr().err
    assert list(counted("abc", "letters", quiet=True)) == ["a", "b", "c"] and not capsys.readouterr().err


def test_processes_that_report_errors_alone_are_silenced(caplog: pytest.LogCaptureFixture) -> None:
    for level, expected in ((logging.INFO, False), (logging.ERROR, True)):
        caplog.set_level(level, "ghost")
        assert silenced() is expected


class Blind:
    """In the place of MediaPipe's landmarker."""

    def __init__(self, path: str) -> None:
        pass

    def in_image(self, image: np.ndarray, M: np.ndarray, size: int) -> Mesh:
        return Mesh(np.random.default_rng(0).uniform(0, 80, (478, 3)).astype(np.float32), 1.0)


def test_trainings_say_how_far_they_are_with_their_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_a_terminal(monkeypatch)
    caplog.set_level(logging.INFO, "ghost")
    monkeypatch.setattr(labels, "MediaPipeLandmarks", Blind)
    faces = decoded(find_faces(write_set(tmp_path), True))
    assert "12/12" in capsys.readouterr().err
    labels.label(faces, "")
    assert "12/12" in capsys.readouterr().err
    assert embed_set(faces, torch.nn.Flatten(), torch.device("cpu"), torch.float32).shape == (12, 3 * 112 * 112)
    assert "12/12" in capsys.readouterr().err
