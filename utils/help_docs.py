"""The options of every script as text files: python -m utils.help_docs writes docs/SCRIPT-help.txt."""

from __future__ import annotations

import os
import subprocess
import sys

from utils.registry import ROOT

SCRIPTS = ("inference", "train", "evaluate", "preprocess_vgg", "convert_weights")


def help_of(script: str) -> str:
    """What a script of the repository prints for --help, at a width that does not depend on the terminal."""
    command = [sys.executable, f"{script}.py", "--help"]
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Write the files anew."""
    for script in SCRIPTS:
        (ROOT / "docs" / f"{script}-help.txt").write_text(help_of(script), encoding="utf-8")


if __name__ == "__main__":
    main()
