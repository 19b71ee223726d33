"""The line that says how far a run is."""

from __future__ import annotations

import sys

import pytest

from utils.progress import progress


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_on_a_terminal_alone(
    quiet: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(3, quiet, "photos") as advance:
        advance()
        advance(2, "1 kept")
    said = capsys.readouterr()
    assert not said.out
    if terminal and not quiet:
        assert "3/3" in said.err and "photos/s" in said.err and "1 kept" in said.err
    else:
        assert not said.err
