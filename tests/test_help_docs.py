"""docs/SCRIPT-help.txt: what the scripts say now."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from utils.help_docs import SCRIPTS, help_of
from utils.version import TOOL

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_what_the_script_says(script: str) -> None:
    """Only the words: versions of Python break lines elsewhere."""
    written = (ROOT / "docs" / f"{script}-help.txt").read_text(encoding="utf-8")
    assert written.split() == help_of(script).split(), "python -m utils.help_docs writes it anew"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_its_version(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        importlib.import_module(script).main(["--version"])
    assert not done.value.code and capsys.readouterr().out == f"{TOOL}\n"
