"""What a fresh checkout says and does before there is an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A Python of another version, without the module venv.
OTHER = """#!{python}
import sys
sys.version_info = {version}
if sys.argv[1] == "--version":
    sys.exit("Python " + ".".join(map(str, sys.version_info)))
if "venv" in sys.argv[2]:
    sys.exit(1)
exec(sys.argv[2])
"""


@pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="needs make")
@pytest.mark.parametrize(("version", "fits"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14, 9), True),
                                               ((3, 15, 0), False)])
def test_make_names_the_versions_of_python_for_which_there_are_packages(
    tmp_path: Path, version: tuple[int, int, int], fits: bool
) -> None:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    other = tmp_path / "python"
    other.write_text(OTHER.format(python=sys.executable, version=version))
    other.chmod(0o755)
    command = ["make", f"PYTHON={other}", "lint"]
    # As if these tests were not run by make, too, which would pass on its options.
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    said = "The venv module is missing" if fits else f"Python 3.11 to 3.14 is needed; found: Python 3.{version[1]}."
    assert done.returncode and done.stdout.startswith(said), done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_scripts_keep_their_line_ends_where_git_converts_them(tmp_path: Path) -> None:
    files = ["download_models.sh", "Makefile", ".ci/run", "utils/preprocess/synthetic_faces/index.csv"]
    for name in (".gitattributes", *files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in files}
    git = ["git", "-C", str(tmp_path), "-c", "core.autocrlf=true"]
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    for name in files:
        (tmp_path / name).unlink()
    subprocess.run([*git, "checkout-index", "--all"], check=True, capture_output=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == before
