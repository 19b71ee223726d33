"""docs/SCRIPT-help.txt: what the scripts say now."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.help_docs import SCRIPTS, help_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_what_the_script_says(script: str) -> None:
    """Only the words: versions of Python break lines elsewhere."""
    written = (ROOT / "docs" / f"{script}-help.txt").read_text(encoding="utf-8")
    assert written.split() == help_of(script).split(), "python -m utils.help_docs writes it anew"
